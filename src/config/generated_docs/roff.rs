//! A manual page in roff, written piece by piece. Never here: what a page says.

use std::fmt::Write as _;

/// A page that is being written.
pub(crate) struct Roff(String);

impl Roff {
    /// Begins a page of this name and section, with the line that `whatis` shows.
    pub(crate) fn new(name: &str, section: u8, summary: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut page =
            Self(format!(".TH {} {section} \"\" \"rip-server {version}\"\n", escaped(&name.to_uppercase())));
        page.heading("Name");
        page.paragraph(&format!("{name} - {summary}"));
        page
    }

    /// The text of the page.
    pub(crate) fn text(self) -> String {
        self.0
    }

    pub(crate) fn heading(&mut self, title: &str) {
        let _ = writeln!(self.0, ".SH {}", escaped(&title.to_uppercase()));
    }

    pub(crate) fn subheading(&mut self, title: &str) {
        let _ = writeln!(self.0, ".SS {}", escaped(title));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, ".PP\n{}", escaped(text));
    }

    /// Adds a term in bold, and what it does. `.B` is not used, because it would take quotes for its own.
    pub(crate) fn entry(&mut self, term: &str, text: &str) {
        let _ = writeln!(self.0, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(text));
    }

    /// Places further text below the last entry, until [`Roff::outdent`].
    pub(crate) fn indent(&mut self) {
        self.0.push_str(".RS\n");
    }

    pub(crate) fn outdent(&mut self) {
        self.0.push_str(".RE\n");
    }

    pub(crate) fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.0.push_str(".PP\n.nf\n");
        for line in lines {
            let _ = writeln!(self.0, "{}", escaped(line));
        }
        self.0.push_str(".fi\n");
    }

    /// Ends the page with the names of other pages.
    pub(crate) fn see_also(mut self, pages: &[(&str, u8)]) -> Self {
        self.heading("See also");
        for (index, (name, section)) in pages.iter().enumerate() {
            let comma = if index + 1 < pages.len() { "," } else { "" };
            let _ = writeln!(self.0, ".BR {} ({section}){comma}", escaped(name));
        }
        self
    }
}

/// The text with backslashes and dashes escaped; no line starts a request by accident.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('±', "\\[+-]").replace('…', "...");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(escaped(r".x \n --a"), r"\&.x \en \-\-a");
    }

    #[test]
    fn a_page_begins_with_its_name_and_ends_with_other_pages() {
        let mut page = Roff::new("rip-x", 1, "does x");
        page.entry("-x", "x");
        let text = page.see_also(&[("a", 1), ("b", 5)]).text();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!(
                ".TH RIP\\-X 1 \"\" \"rip-server {version}\"\n.SH NAME\n.PP\nrip\\-x \\- does x\n.TP\n\\fB\\-x\\fR\nx\n\
                 .SH SEE ALSO\n.BR a (1),\n.BR b (5)\n"
            )
        );
    }
}
