//! Servers in a shell line that do not go by `PORT` themselves: each is told where to listen by words of its own.
//!
//! Never here: finding out which program a line runs (`shell`).

use super::shell;

/// How a server is told where to listen.
struct KnownServer {
    names: &'static [&'static str],
    /// The assignments by which the server takes address and port; those of the line itself win over them.
    port: &'static str,
    /// The assignments for a socket that the server inherits.
    descriptor: &'static str,
    /// The flags for the end of the line, as the shell reads them; empty where the server goes by variables.
    flags: &'static str,
    /// The flags by which the line itself says where the server listens.
    own_flags: &'static [&'static str],
}

/// The line with the words that its server needs; unchanged when the server needs none or the line says where it
/// listens.
pub(super) fn told_where_to_listen(line: &str) -> String {
    let Some((name, words)) = shell::program_of(line) else { return line.into() };
    let Some(server) = KNOWN_SERVERS.iter().find(|server| server.names.contains(&name)) else {
        return line.into();
    };
    let says = |word: &str| {
        let flag = word.split('=').next().unwrap_or(word);
        server.own_flags.iter().any(|own| *own == flag || is_glued(own, word))
    };
    if words.clone().any(says) || name == "falcon" && !words.clone().any(|word| word == "serve") {
        return line.into();
    }
    let mut told = String::new();
    for (given, assignments) in [("PORT", server.port), ("LISTEN_FDS", server.descriptor)] {
        if !assignments.is_empty() {
            told += &format!("[ -z \"${given}\" ] || export {assignments}; ");
        }
    }
    told += line;
    if !server.flags.is_empty() && shell::is_plain(line) {
        told = format!("{told} {}", server.flags);
    }
    told
}

/// Whether the word is a short flag with its value behind it: `-p8000`.
fn is_glued(flag: &str, word: &str) -> bool {
    flag.len() == 2 && word.len() > 2 && word.starts_with(flag)
}

const NONE: KnownServer = KnownServer { names: &[], port: "", descriptor: "", flags: "", own_flags: &[] };

const KNOWN_SERVERS: [KnownServer; 10] = [
    KnownServer {
        names: &["uvicorn"],
        port: "UVICORN_HOST=\"$HOST\" UVICORN_PORT=\"$PORT\"",
        descriptor: "UVICORN_FD=3",
        own_flags: &["--port", "--fd", "--uds"],
        ..NONE
    },
    KnownServer {
        names: &["granian"],
        port: "GRANIAN_HOST=\"$HOST\" GRANIAN_PORT=\"$PORT\"",
        own_flags: &["--port", "--uds"],
        ..NONE
    },
    KnownServer {
        names: &["hypercorn"],
        flags: "${PORT:+--bind \"$HOST:$PORT\"} ${LISTEN_FDS:+--bind fd://3}",
        own_flags: &["-b", "--bind", "-c", "--config"],
        ..NONE
    },
    KnownServer {
        names: &["daphne"],
        flags: "${PORT:+-b \"$HOST\" -p \"$PORT\"} ${LISTEN_FDS:+--fd 3}",
        own_flags: &["-b", "--bind", "-p", "--port", "-u", "--unix-socket", "--fd", "-e", "--endpoint"],
        ..NONE
    },
    KnownServer {
        names: &["waitress-serve"],
        flags: "${PORT:+--listen \"$HOST:$PORT\"}",
        own_flags: &["--listen", "--host", "--port", "--unix-socket"],
        ..NONE
    },
    KnownServer {
        names: &["falcon"],
        flags: "${PORT:+--bind \"http://$HOST:$PORT\"}",
        own_flags: &["-b", "--bind", "-p", "--port"],
        ..NONE
    },
    KnownServer {
        names: &["starman", "plackup"],
        flags: "${PORT:+--host \"$HOST\" --port \"$PORT\"}",
        own_flags: &["-p", "--port", "-l", "--listen", "-S", "--socket"],
        ..NONE
    },
    KnownServer { names: &["deno"], port: "DENO_SERVE_ADDRESS=\"tcp:$HOST:$PORT\"", ..NONE },
    KnownServer {
        names: &["java"],
        port: "SERVER_ADDRESS=\"$HOST\" SERVER_PORT=\"$PORT\" QUARKUS_HTTP_HOST=\"$HOST\" \
               QUARKUS_HTTP_PORT=\"$PORT\" MICRONAUT_SERVER_HOST=\"$HOST\" MICRONAUT_SERVER_PORT=\"$PORT\"",
        ..NONE
    },
    KnownServer {
        names: &["dotnet"],
        port: "ASPNETCORE_URLS=\"http://$HOST:$PORT\"",
        own_flags: &["--urls"],
        ..NONE
    },
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The arguments that the line's program gets, and the variables that the test asks for.
    fn got(line: &str, given: &[(&str, &str)], variables: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for name in KNOWN_SERVERS.iter().flat_map(|server| server.names).chain(&["python3"]) {
            let path = folder.path().join(name);
            let text = format!(
                "#!/bin/sh\necho \"$@\" | sed 's/ *$//'\nfor name in {variables}; do eval echo \\$$name; done"
            );
            std::fs::write(&path, text).unwrap();
            Command::new("chmod").arg("755").arg(&path).status().unwrap();
        }
        let line = told_where_to_listen(line);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &line]).env_clear().env("PATH", path).envs(given.to_vec());
        String::from_utf8(shell.output().unwrap().stdout).unwrap().trim_end().replace('\n', " | ")
    }

    #[test]
    fn a_server_that_does_not_go_by_port_is_told_in_its_own_words() {
        let port = [("HOST", "127.0.0.1"), ("PORT", "4000")];
        for (line, variables, told) in [
            ("uvicorn app:app", "UVICORN_HOST UVICORN_PORT", "app:app | 127.0.0.1 | 4000"),
            ("A=b exec uvicorn app:app", "UVICORN_PORT A", "app:app | 4000 | b"),
            ("python3 -m uvicorn app:app", "UVICORN_PORT", "-m uvicorn app:app | 4000"),
            ("uvicorn app:app --port 80", "UVICORN_PORT", "app:app --port 80 |"),
            ("granian --interface asgi app:app", "GRANIAN_PORT", "--interface asgi app:app | 4000"),
            ("hypercorn app:app", "", "app:app --bind 127.0.0.1:4000"),
            ("cd . && hypercorn app:app 2>/dev/null", "", "app:app --bind 127.0.0.1:4000"),
            ("hypercorn -b 0.0.0.0:$PORT app:app", "", "-b 0.0.0.0:4000 app:app"),
            ("hypercorn --bind=[::]:$PORT app:app", "", "--bind=[::]:4000 app:app"),
            ("daphne app:app", "", "app:app -b 127.0.0.1 -p 4000"),
            ("daphne -p8000 app:app", "", "-p8000 app:app"),
            ("waitress-serve app:app", "", "app:app --listen 127.0.0.1:4000"),
            ("falcon serve", "", "serve --bind http://127.0.0.1:4000"),
            ("falcon host", "", "host"),
            ("starman app.psgi", "", "app.psgi --host 127.0.0.1 --port 4000"),
            ("deno run -A main.ts", "DENO_SERVE_ADDRESS", "run -A main.ts | tcp:127.0.0.1:4000"),
            ("java -jar app.jar", "SERVER_PORT", "-jar app.jar | 4000"),
            ("dotnet app.dll", "ASPNETCORE_URLS", "app.dll | http://127.0.0.1:4000"),
            ("hypercorn app:app | cat", "", "app:app"),
        ] {
            assert_eq!(got(line, &port, variables), told.trim_end_matches(" |"), "{line}");
        }
        let inherited = [("LISTEN_FDS", "1")];
        assert_eq!(got("uvicorn app:app", &inherited, "UVICORN_FD UVICORN_PORT"), "app:app | 3");
        assert_eq!(got("hypercorn app:app", &inherited, ""), "app:app --bind fd://3");
        assert_eq!(told_where_to_listen("node server.js"), "node server.js");
    }
}
