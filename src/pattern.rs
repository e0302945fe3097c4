//! Patterns for files of a folder: `**/*.py`, `templates`, `src/*.{js,ts}`.
//!
//! Never here: looking at a file.

use std::fmt;

/// A pattern: it says which files of a folder are meant, by their paths from that folder.
///
/// `*` and `?` stand for characters of one name, `[a-z]` and `[!a-z]` for one of some, `{a,b}` for either, `**` for any
/// folders. A name without these at the end means that file, or everything in that folder. None of them stands for the
/// dot at the beginning of a hidden name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    ways: Vec<Vec<PatternStep>>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {why}")]
pub(crate) struct BadPattern {
    pub(crate) text: String,
    /// The fault of the pattern, and the form that would be right.
    pub(crate) why: &'static str,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When the pattern could not match any file that is looked at, or leaves a bracket or a brace open.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern { text: text.into(), why };
        let plain = text.strip_prefix("./").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        if plain.is_empty() {
            return Err(bad("it names nothing"));
        }
        if plain.starts_with(['/', '~']) {
            return Err(bad("patterns start in the app's folder, without / or ~ before them"));
        }
        if plain.starts_with('!') {
            return Err(bad("a pattern says what is looked at and cannot take anything away"));
        }
        if plain.contains(['\\', '\0']) {
            return Err(bad("no backslash may be in it"));
        }
        let mut ways = Vec::new();
        for way in alternatives(plain, MOST_WAYS).map_err(bad)? {
            let steps = way.split('/').map(PatternStep::parse).collect::<Result<Vec<_>, _>>().map_err(bad)?;
            if steps.windows(2).any(|two| two == [PatternStep::Folders, PatternStep::Folders]) {
                return Err(bad("one ** is enough"));
            }
            if let Some(PatternStep::Name(name)) = steps.last()
                && name.iter().all(|one| matches!(one, Glyph::Is(_)))
            {
                let below = [PatternStep::Folders, PatternStep::Name(vec![Glyph::Many])];
                ways.push([&steps[..], &below].concat());
            }
            ways.push(steps);
        }
        Ok(Self { text: text.into(), ways })
    }

    /// Whether the file with these names on the way to it is meant.
    pub(crate) fn matches(&self, path: &[&str]) -> bool {
        self.ways.iter().any(|way| fits(way, path))
    }

    /// Whether a file that is meant may be in the folder with these names on the way to it, or below.
    pub(crate) fn may_be_in(&self, folder: &[&str]) -> bool {
        self.ways.iter().any(|way| leads(way, folder))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of a list of patterns with commas between them; a comma in braces is a pattern's own.
pub(crate) fn parts_of_list(text: &str) -> Vec<String> {
    let mut open = false;
    let parts = text.split(|c| {
        open = (open || c == '{') && c != '}';
        c == ',' && !open
    });
    parts.map(|part| part.trim().to_owned()).collect()
}

/// Folders that are never looked into, beside hidden ones.
pub(crate) const NEVER: [&str; 3] = ["node_modules", "venv", "__pycache__"];

/// The part of a pattern between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternStep {
    /// `**`
    Folders,
    Name(Vec<Glyph>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Glyph {
    Is(char),
    One,
    Many,
    /// A character of these ranges, or of none of them.
    Of(Vec<(char, char)>, bool),
}

impl PatternStep {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "**" => return Ok(Self::Folders),
            "" => return Err("two slashes stand together"),
            "." | ".." => return Err("patterns start in the app's folder and do not leave it"),
            name if NEVER.contains(&name) => {
                return Err("node_modules, venv, __pycache__ and hidden folders are never looked into");
            }
            name if name.contains("**") => return Err("** stands for whole folders, as in **/*.py"),
            _ => {}
        }
        let mut glyphs = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            glyphs.push(match c {
                '*' => Glyph::Many,
                '?' => Glyph::One,
                '[' => {
                    let (inside, behind) = rest.as_str().split_once(']').ok_or("a [ is not closed")?;
                    rest = behind.chars();
                    set(inside)?
                }
                c => Glyph::Is(c),
            });
        }
        Ok(Self::Name(glyphs))
    }
}

fn set(inside: &str) -> Result<Glyph, &'static str> {
    let (inside, none_of) = inside.strip_prefix(['!', '^']).map_or((inside, false), |rest| (rest, true));
    let chars: Vec<_> = inside.chars().collect();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some(first) = chars.get(at) {
        let last = chars.get(at + 2).filter(|_| chars.get(at + 1) == Some(&'-'));
        ranges.push((*first, *last.unwrap_or(first)));
        at += if last.is_some() { 3 } else { 1 };
    }
    if ranges.is_empty() || ranges.iter().any(|(first, last)| first > last) {
        return Err("between [ and ] stand characters or ranges, such as [a-z]");
    }
    Ok(Glyph::Of(ranges, none_of))
}

/// The text once for each choice of its braces.
fn alternatives(text: &str, most: usize) -> Result<Vec<String>, &'static str> {
    let Some((before, rest)) = text.split_once('{') else {
        return if text.contains('}') { Err("a } closes nothing") } else { Ok(vec![text.into()]) };
    };
    let (inside, behind) = rest.split_once('}').ok_or("a { is not closed")?;
    if before.contains('}') || inside.contains('{') {
        return Err("braces stand beside each other and not within each other");
    }
    let mut all = Vec::new();
    for choice in inside.split(',') {
        all.extend(alternatives(&format!("{before}{choice}{behind}"), most)?);
        if all.len() > most {
            return Err("the braces leave too many choices: write several patterns");
        }
    }
    Ok(all)
}

/// Whether a path fits the steps. Each `**` is tried alone, as each star is in [`spells`].
fn fits(way: &[PatternStep], path: &[&str]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut folders: Option<(usize, usize)> = None;
    while read < path.len() {
        match way.get(at) {
            Some(PatternStep::Folders) => {
                folders = Some((at, read));
                at += 1;
            }
            Some(PatternStep::Name(name)) if is_called(name, path[read]) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((there, taken)) = folders else { return false };
                if path[taken].starts_with('.') {
                    return false;
                }
                folders = Some((there, taken + 1));
                (at, read) = (there + 1, taken + 1);
            }
        }
    }
    way[at..].iter().all(|step| *step == PatternStep::Folders)
}

fn leads(way: &[PatternStep], folder: &[&str]) -> bool {
    match (way, folder) {
        ([], _) => false,
        (_, []) => true,
        ([PatternStep::Folders, ..], _) => !folder.iter().any(|name| name.starts_with('.')),
        ([PatternStep::Name(name), rest @ ..], [first, below @ ..]) => {
            is_called(name, first) && leads(rest, below)
        }
    }
}

fn is_called(glyphs: &[Glyph], name: &str) -> bool {
    let hidden = name.starts_with('.') && glyphs.first() != Some(&Glyph::Is('.'));
    !hidden && spells(glyphs, &name.chars().collect::<Vec<_>>())
}

/// Whether a name fits the glyphs. Each star is tried alone: characters that an earlier star took are given back only
/// as long as no later star follows.
fn spells(glyphs: &[Glyph], name: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match glyphs.get(at) {
            Some(Glyph::Many) => {
                star = Some((at, read));
                at += 1;
            }
            Some(glyph) if glyph.is(name[read]) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((there, taken)) = star else { return false };
                star = Some((there, taken + 1));
                (at, read) = (there + 1, taken + 1);
            }
        }
    }
    glyphs[at..].iter().all(|glyph| *glyph == Glyph::Many)
}

impl Glyph {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Is(own) => *own == c,
            Self::One => true,
            Self::Many => false,
            Self::Of(ranges, none_of) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *none_of
            }
        }
    }
}

const MOST_WAYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Vec<&str> {
        path.split('/').filter(|part| !part.is_empty()).collect()
    }

    #[test]
    fn files_are_meant_or_not() {
        let table = [
            ("**/*.py", "a.py b/c/d.py", "a.pyc .a.py b/a"),
            ("*.py", "a.py", "b/a.py"),
            (
                "templates",
                "templates templates/a.html templates/b/c",
                "b/templates/a templates/.a templates/.b/c xtemplates",
            ),
            ("./src/", "src/a src/b/c", "a"),
            ("src/**", "src/a src/b/c", "a"),
            ("src/**/test_?.py", "src/test_1.py src/a/b/test_2.py", "src/test_10.py test_1.py"),
            ("*.{js,ts}", "a.js a.ts", "a.css"),
            ("{src,lib}/*.rb", "src/a.rb lib/b.rb", "bin/a.rb"),
            ("[a-c]?[!0-9].x", "abz.x c1_.x", "dbz.x ab1.x"),
            ("a*b*c", "abc aXbYc abcbc", "ab acb"),
            (".env", ".env", "env"),
            ("**/x/.ssh/*", "x/.ssh/a b/x/.ssh/a", ".b/x/.ssh/a x/.ssh/.a"),
            ("conf/settings.toml", "conf/settings.toml", "conf/settings.tomlx conf/a"),
        ];
        for (pattern, yes, no) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            for path in yes.split(' ') {
                assert!(parsed.matches(&of(path)), "{pattern}: {path}");
            }
            for path in no.split(' ') {
                assert!(!parsed.matches(&of(path)), "{pattern}: not {path}");
            }
        }
    }

    #[test]
    fn folders_are_looked_into_or_not() {
        let table = [
            ("**/*.py", "a a/b", ""),
            ("*.py", "", "a"),
            ("templates", "templates templates/a", "a templates/.a templates/.a/b"),
            ("src/*/x.py", "src src/a", "src/a/b lib"),
            ("src/**/x.py", "src src/a/b", "lib"),
        ];
        for (pattern, yes, no) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            assert!(parsed.may_be_in(&[]), "{pattern}");
            for folder in yes.split(' ').filter(|folder| !folder.is_empty()) {
                assert!(parsed.may_be_in(&of(folder)), "{pattern}: {folder}");
            }
            for folder in no.split(' ').filter(|folder| !folder.is_empty()) {
                assert!(!parsed.may_be_in(&of(folder)), "{pattern}: not {folder}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for text in [
            "",
            "/",
            "./",
            "/etc",
            "~/x",
            "!x",
            "a//b",
            "../x",
            "a/../b",
            "a/./b",
            "**.py",
            "a**",
            "**/**",
            "[a",
            "[]",
            "[z-a]",
            "{a",
            "a}",
            "{a,{b,c}}",
            "a\\b",
            "node_modules/x",
            "venv",
            "{a,b,c}{a,b,c}{a,b,c}{a,b,c}",
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}`: ")), "{error}");
        }
    }

    #[test]
    fn a_name_made_to_take_long_does_not() {
        let pattern = Pattern::parse(&"*a".repeat(40)).unwrap();
        assert!(!pattern.matches(&["a".repeat(39).as_str()]));
        let pattern = Pattern::parse(&format!("{}b", "**/a/".repeat(40))).unwrap();
        assert!(!pattern.matches(&["a"; 200]));
    }
}
