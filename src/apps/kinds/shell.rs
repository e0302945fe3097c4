//! Puts `exec` before the last command of a shell line, where that only replaces a shell that waits by the program
//! itself.
//!
//! A shell in between does not pass SIGTERM on to the program, and `LISTEN_PID` names the shell. Never here: what the
//! line runs, or an expansion of it.

/// The line with `exec` behind the assignments of its last command; unchanged where `sh -c` might then do something
/// else, or where the last command is no program.
pub(in crate::apps) fn replaced_by_last_command(line: &str) -> String {
    match place_of_exec(line) {
        Some(place) => {
            let (before, command) = line.split_at(place);
            format!("{before}exec {command}")
        }
        None => line.into(),
    }
}

/// The last command of a line, without its assignments; the whole line where it is not that plain.
pub(in crate::apps) fn last_command(line: &str) -> &str {
    place_of_exec(line).map_or(line, |place| &line[place..])
}

/// The program that the last command runs, without its folder, or the module that it has Python run; and the words
/// behind it.
pub(in crate::apps) fn program_of(line: &str) -> Option<(&str, impl Iterator<Item = &str> + Clone)> {
    let mut words = last_command(line)
        .split_whitespace()
        .skip_while(|word| matches!(*word, "exec" | "env") || word.contains('=') || word.starts_with('-'));
    let program = words.next()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let module = words.clone().skip_while(|word| *word != "-m").nth(1);
    let is_python = program.starts_with("python");
    Some((module.filter(|_| is_python).unwrap_or(program), words))
}

/// Whether text that is added to the end of the line becomes an argument of its last command.
pub(in crate::apps) fn is_plain(line: &str) -> bool {
    tokens(line).is_some_and(|tokens| tokens.last().is_some_and(|last| last.kind == TokenKind::Word))
}

/// The place where the program of the last command begins, when the line is some commands that follow each other by `;`
/// or `&&`.
fn place_of_exec(line: &str) -> Option<usize> {
    let tokens = tokens(line)?;
    let commands: Vec<&[Token<'_>]> = tokens.split(|token| token.kind == TokenKind::Separator).collect();
    let (last, earlier) = commands.split_last()?;
    let program = last.iter().find(|token| !token.is_assignment())?;
    let name = unquoted(program.text)?;
    if program.kind == TokenKind::Redirection || OF_THE_SHELL.contains(&&*name) {
        return None;
    }
    for command in earlier {
        let first = command.iter().find(|token| !token.is_assignment());
        match first.map_or("", |token| token.text) {
            // `trap` sets what happens at the shell's end, and `alias` sets names for other commands.
            "trap" | "alias" => return None,
            // A sourced file and `eval` may define functions; a function is never called like a path, and hardly like a
            // runtime.
            "." | "source" | "eval" if !name.contains('/') && !NO_FUNCTIONS.contains(&&*name) => return None,
            _ => {}
        }
    }
    Some(program.start)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Word,
    /// A separator: `;` or `&&`.
    Separator,
    /// A redirection: `>`, `2>&`, `<`; its target is a word of its own, or the rest of this one.
    Redirection,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: TokenKind,
    start: usize,
    text: &'a str,
}

impl Token<'_> {
    /// Whether the token is `NAME=value`, before the command.
    fn is_assignment(&self) -> bool {
        let Some((name, _)) = self.text.split_once('=') else { return false };
        let mut letters = name.chars();
        self.kind == TokenKind::Word
            && letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    }
}

/// The tokens of a line of plain commands (POSIX, Shell Command Language, 2.3); `None` for one that has more: pipes,
/// lists with `||` or `&`, subshells, functions, substitutions, comments, here-documents, a quote without its end.
fn tokens(line: &str) -> Option<Vec<Token<'_>>> {
    let bytes = line.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            b' ' | b'\t' => {
                at += 1;
                continue;
            }
            b';' => {
                at += 1;
                TokenKind::Separator
            }
            b'&' if bytes.get(at + 1) == Some(&b'&') => {
                at += 2;
                TokenKind::Separator
            }
            b'<' | b'>' => {
                at = end_of_redirection(bytes, at)?;
                TokenKind::Redirection
            }
            b'#' | b'&' => return None,
            _ => {
                at = end_of_word(bytes, at)?;
                let number = bytes[start..at].iter().all(u8::is_ascii_digit);
                match bytes.get(at) {
                    Some(b'<' | b'>') if number => {
                        at = end_of_redirection(bytes, at)?;
                        TokenKind::Redirection
                    }
                    _ => TokenKind::Word,
                }
            }
        };
        tokens.push(Token { kind, start, text: line.get(start..at)? });
    }
    Some(tokens)
}

/// The end of `<`, `>`, `>>`, `>&`, `<&`, `<>` or `>|`.
fn end_of_redirection(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'<', Some(b'<')) => None,
        (_, Some(b'>' | b'&' | b'|')) => Some(at + 2),
        _ => Some(at + 1),
    }
}

/// The end of a word, with the quotes and `${…}` within it.
fn end_of_word(bytes: &[u8], mut at: usize) -> Option<usize> {
    // `open` counts the `${` that are open; `quoted`: the place is within double quotes.
    let (mut open, mut quoted) = (0_usize, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'`' | b'\n' => return None,
            b'$' if bytes.get(at + 1) == Some(&b'(') => return None,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open > 0 => open -= 1,
            // The meaning of quotes within `${…}` depends on where that stands, so that such a line is left to the
            // shell.
            b'"' | b'\'' if open > 0 => return None,
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            b'\'' if !quoted => at += 1 + bytes.get(at + 1..)?.iter().position(|byte| *byte == b'\'')?,
            b'(' | b')' | b'|' if !quoted && open == 0 => return None,
            b' ' | b'\t' | b';' | b'&' | b'<' | b'>' if !quoted && open == 0 => break,
            _ => {}
        }
        at += 1;
    }
    (open == 0 && !quoted && at <= bytes.len()).then_some(at)
}

/// The word without its quotes; `None` where only the shell can expand it.
fn unquoted(word: &str) -> Option<String> {
    let expands = |c: char| matches!(c, '$' | '*' | '?' | '[');
    if word != "[" && word != "[[" && word.contains(expands) {
        return None;
    }
    Some(word.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect())
}

/// The words that a shell runs itself: reserved words and the builtins of dash, bash and busybox. Words that are
/// programs too are left to the shell, which has its own ways.
const OF_THE_SHELL: [&str; 82] = [
    "!",
    ".",
    ":",
    "[",
    "[[",
    "{",
    "}",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// The programs whose names no function has.
const NO_FUNCTIONS: [&str; 16] = [
    "bun", "bundle", "deno", "env", "flask", "gunicorn", "node", "npm", "npx", "php", "puma", "python",
    "python3", "ruby", "uv", "uvicorn",
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn exec_stands_behind_the_assignments_of_a_plain_last_command() {
        let table = [
            ("node server.js", "exec node server.js"),
            ("  node server.js", "  exec node server.js"),
            ("python3 web.py $PORT", "exec python3 web.py $PORT"),
            ("NODE_ENV=production node 'a b.js'", "NODE_ENV=production exec node 'a b.js'"),
            ("NODE_OPTIONS=$EXTRA B=\"a b\" node x.js", "NODE_OPTIONS=$EXTRA B=\"a b\" exec node x.js"),
            ("A=${X:-a b} node x.js", "A=${X:-a b} exec node x.js"),
            ("cd web && node x.js", "cd web && exec node x.js"),
            ("a;b", "a;exec b"),
            ("a; b && c --x=\"1;2\" > log", "a; b && exec c --x=\"1;2\" > log"),
            ("node x.js 2>&1", "exec node x.js 2>&1"),
            ("node x.js >>log 2>&1 </dev/null", "exec node x.js >>log 2>&1 </dev/null"),
            ("node a\\;b", "exec node a\\;b"),
            ("'node' a", "exec 'node' a"),
            ("~/bin/app x", "exec ~/bin/app x"),
            (". ./.env && node x.js", ". ./.env && exec node x.js"),
            (". ./.env; ./server", ". ./.env; exec ./server"),
        ];
        for (line, expected) in table {
            assert_eq!(replaced_by_last_command(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_plain_program_is_left_to_the_shell() {
        for line in [
            "exec puma",
            "node a.js | tee log",
            "node a.js & node b.js",
            "node a.js &",
            "node a.js &> log",
            "a || b",
            "(cd web; node x.js)",
            "{ node x.js; }",
            "! node x.js",
            "f() { node x.js; }; f",
            "node $(cat entry)",
            "node `cat entry`",
            "if true; then node x.js; fi",
            "while true; do node x.js; done",
            "node \"unfinished",
            "node 'unfinished",
            "node ${unfinished",
            "node x.js;",
            "node x.js # why",
            "> log node x.js",
            "2>log node x.js",
            "A=1 > log node x.js",
            "A=1",
            "cd web && A=1",
            "cat <<END",
            "$CMD x",
            "\"$CMD\" x",
            "./ser*er",
            "trap 'echo end' EXIT; node x.js",
            ". ./lib.sh; serve",
            "eval \"$LIB\"; serve",
            "'cd' web",
            "\\cd web",
            "echo hello",
            "command node x.js",
            "",
        ] {
            assert_eq!(replaced_by_last_command(line), line);
        }
    }

    /// Runs every line twice by `sh -c` in folders that are alike, unchanged and with `exec`; the program prints its
    /// arguments, its environment and its folder.
    #[test]
    fn the_line_does_what_sh_makes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let show = "#!/bin/sh\nfor word; do echo \"[$word]\"; done\nenv | grep '^[A-D]=' | sort\npwd -P\n\
                    [ -t 0 ] || cat\necho error >&2\nexit 7\n";
        fs::write(folder.path().join("show"), show).unwrap();
        fs::write(folder.path().join("in put"), "input\n").unwrap();
        fs::write(folder.path().join("vars"), "B=sourced; export B\n").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::set_permissions(folder.path().join("show"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut replaced = 0;
        for line in LINES {
            let run = |line: &str| {
                fs::remove_file(folder.path().join("log")).ok();
                let (status, output) = run(folder.path(), line);
                (status, output, fs::read_to_string(folder.path().join("log")).ok())
            };
            let ours = replaced_by_last_command(line);
            replaced += usize::from(ours != *line);
            assert_eq!(run(&ours), run(line), "{line} as {ours}");
        }
        assert!(replaced > LINES.len() / 2, "{replaced} of {}", LINES.len());
    }

    fn run(folder: &Path, line: &str) -> (Option<i32>, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(folder).env_clear().stdin(Stdio::null());
        command.env("HOME", "/home/me").env("X", "x  y*").env("E", "").env("A", "of the server");
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    const LINES: [&str; 48] = [
        "show a 'b c' \"d  e\" f\\ g",
        "show $X \"$X\" '$X' ${X} ${Y:-a b} \"${Y:-a b}\"",
        "A=$X show $A",
        "A=$X B=$A show",
        "A=1 B=$A C=$B show",
        "A= show",
        "A=\"$X\" show",
        "A='$X' show",
        "A=~ show",
        "A=~/a:~/b show ~ ~/c",
        "A=\"~\" show '~'",
        "A=${Y:-a b} show",
        "A=${Y:-~} show",
        "A=a\\ b show",
        "A=a\"b c\"'d e' show",
        "A=x=y show B=z",
        "A=1; show",
        "A=1 && B=2 show $A",
        "export B=3; show $B",
        "B=4; show $B",
        "C=$E show $E \"$E\"",
        "D=* show *ow",
        "A=1 show > log",
        "show > log 2>&1",
        "show >> log",
        "show < 'in put'",
        "show >log <'in put' a b",
        "A=1 > log show",
        "> log show",
        "cd sub && show",
        "cd sub; A=$X ../show",
        "cd sub && cd .. && A=1 ./show x",
        "cd missing && show",
        "false && show",
        "true; show",
        "show | cat",
        "show || true",
        "show; show b",
        "A=1 env show",
        "env A=1 show",
        ". ./vars; ./show",
        ". ./vars && B=$B.more ./show",
        "PATH=$PATH:/nowhere show",
        "PATH=/nowhere show",
        "missing-program",
        "set -- a b; show \"$@\" $# $1",
        "show -- --a=b --c='d e'",
        "set -e; A=$X show \"$A\"",
    ];
}
