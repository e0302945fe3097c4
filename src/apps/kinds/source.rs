//! Source text made fit for a light look: without comments, and without what only looks like code.
//!
//! Never here: what the text means.

/// JavaScript or TypeScript without its comments; strings stay.
pub(in crate::apps) fn javascript(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    // The character before a slash that begins a regular expression and does not divide.
    let mut before = '(';
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        let taken = match c {
            '/' if rest.starts_with("//") => skipped(rest, rest.find('\n')),
            '/' if rest.starts_with("/*") => {
                code.push(' ');
                skipped(rest, rest.find("*/").map(|end| end + 2))
            }
            '"' | '\'' | '`' => kept(&mut code, &rest[..string(rest, c, c == '`')]),
            '/' if "(,=:[!&|?{};\n".contains(before) => kept(&mut code, &rest[..string(rest, '/', false)]),
            _ => kept(&mut code, &rest[..c.len_utf8()]),
        };
        while chars.next_if(|(next, _)| *next < at + taken).is_some() {}
        if !c.is_whitespace() || c == '\n' {
            before = c;
        }
    }
    code
}

/// The top-level lines of a Python file, each whole: without comments, with what is in brackets or continued joined to
/// it, and with longer strings, such as the one that describes a module, left empty.
pub(in crate::apps) fn python_lines(text: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut depth = 0_usize;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        let long = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(quotes));
        let taken = match c {
            '#' => skipped(rest, rest.find('\n')),
            '"' | '\'' if long.is_some() => {
                line.push_str("''");
                let end = long.and_then(|quotes| rest[3..].find(quotes)).map(|end| end + 6);
                skipped(rest, end)
            }
            '"' | '\'' => kept(&mut line, &rest[..string(rest, c, false)]),
            '\\' if rest.starts_with("\\\n") => {
                line.push(' ');
                2
            }
            '\n' if depth == 0 => {
                lines.push(std::mem::take(&mut line));
                1
            }
            '\n' => {
                line.push(' ');
                1
            }
            _ => {
                depth = match c {
                    '(' | '[' | '{' => depth + 1,
                    ')' | ']' | '}' => depth.saturating_sub(1),
                    _ => depth,
                };
                kept(&mut line, &rest[..c.len_utf8()])
            }
        };
        while chars.next_if(|(next, _)| *next < at + taken).is_some() {}
    }
    lines.push(line);
    let top = |line: &String| line.starts_with(|c: char| !c.is_whitespace());
    lines.into_iter().filter(top).map(|line| line.trim_end().to_owned()).collect()
}

/// Lines of Ruby, of a shell or of anything else whose comments begin with `#`, without those that are comments alone.
pub(in crate::apps) fn without_hash_lines(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// HTML without its comments.
pub(in crate::apps) fn html(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        kept.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    kept + rest
}

/// The attributes of each `<script …>` of a page, without comments.
pub(in crate::apps) fn scripts(page: &str) -> Vec<Vec<(String, String)>> {
    let page = html(page);
    let lower = page.to_ascii_lowercase();
    let starts = lower.match_indices("<script").map(|(at, tag)| at + tag.len());
    let starts = starts.filter(|at| page[*at..].starts_with(|c: char| c.is_ascii_whitespace()));
    starts.map(|at| attributes(&page[at..])).collect()
}

fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_ascii_whitespace() || "=>/".contains(c)).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        if name.is_empty() {
            return found;
        }
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (text, more) = match quote {
                Some(quote) => behind[1..].split_once(quote).unwrap_or((&behind[1..], "")),
                None => behind.split_at(behind.find([' ', '\t', '\n', '>']).unwrap_or(behind.len())),
            };
            (value, rest) = (text, more);
        }
        found.push((name, value.to_owned()));
    }
}

/// The length of a string that begins here: up to its closing quote, or to the end of the line where it has none.
fn string(rest: &str, quote: char, several_lines: bool) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\n' if !several_lines => return at,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

fn skipped(rest: &str, end: Option<usize>) -> usize {
    end.unwrap_or(rest.len())
}

fn kept(code: &mut String, text: &str) -> usize {
    code.push_str(text);
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_of_javascript_go_and_strings_stay() {
        let table = [
            ("a // b.listen(1)\nc", "a \nc"),
            ("a /* b\nc */ d", "a   d"),
            ("x = 'http://a' // b", "x = 'http://a' "),
            ("x = \"/*\" + y // */", "x = \"/*\" + y "),
            ("x = `//\n${a}` // b", "x = `//\n${a}` "),
            ("x = /[\"'`]/.test(y) // b", "x = /[\"'`]/.test(y) "),
            ("x = a / b // c", "x = a / b "),
            ("x = 'it\\'s // no' // b", "x = 'it\\'s // no' "),
            ("x = 'open\ny // b", "x = 'open\ny "),
            ("ä // ö\nü", "ä \nü"),
            ("/* never closed", " "),
        ];
        for (text, expected) in table {
            assert_eq!(javascript(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_of_python_are_whole() {
        let table: [(&str, &[&str]); 8] = [
            ("a = 1 # b\n\nc", &["a = 1", "c"]),
            ("\"\"\"Like this:\napp = Flask(__name__)\n\"\"\"\nb", &["''", "b"]),
            ("x = '# no' # yes", &["x = '# no'"]),
            ("from a import (\n    b,  # c\n    d,\n)\ne", &["from a import (     b,       d, )", "e"]),
            ("a = \\\n  b", &["a =    b"]),
            ("def f(a,\n      b):\n    app = 1\ng", &["def f(a,       b):", "g"]),
            ("x = '''a\n'''; y = 'it\\'s'\nz", &["x = ''; y = 'it\\'s'", "z"]),
            ("\"\"\"never closed\napp = 1", &["''"]),
        ];
        for (text, expected) in table {
            assert_eq!(python_lines(text), expected, "{text}");
        }
    }

    #[test]
    fn scripts_are_read_with_any_quotes_and_not_out_of_comments() {
        let page = "<!-- <script src=no></script> --><SCRIPT type=module\n src='/src/main.ts'></script>\
                    <script defer src=\"a.js\" ></script><scripts src=b><script>c</script>";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            vec![pair("type", "module"), pair("src", "/src/main.ts")],
            vec![pair("defer", ""), pair("src", "a.js")],
        ];
        assert_eq!(scripts(page), expected);
    }
}
