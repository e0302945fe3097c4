//! Makes gunicorn and uvicorn in a command of the app's own tell applications the client's address, which a Unix socket
//! does not have: their Python loads a module for it.
//!
//! Never here: how the server starts the two itself (`python`), or the module (`sitecustomize.py`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::apps::app_folder::AppFolder;
use crate::apps::detected_app::DetectedApp;

/// Lets a command that names one of the two, or a script that does, look for modules in the folder of the worker
/// scripts first: by `PYTHONPATH`, and where the command sets that itself, in front of its own folders.
pub(super) fn is_told(app: &AppFolder<'_>, found: &mut DetectedApp) {
    let Some(folder) = app.hints.runtime_dir_for_scripts.to_str() else { return };
    if !found.command.argv.iter().any(|argument| runs_one(app, argument)) {
        return;
    }
    for argument in &mut found.command.argv {
        *argument = with_folder(argument, folder);
    }
    found.python_path = Some(folder.into());
}

/// Whether the argument, which may be a line for a shell, names one of the two, or one of the app's scripts that does.
fn runs_one(app: &AppFolder<'_>, argument: &str) -> bool {
    names_one(argument)
        || words(argument)
            .any(|word| start_of_script(&app.dir.join(word)).is_some_and(|text| names_one(&text)))
}

fn names_one(text: &str) -> bool {
    let names = words(text).map(|word| word.rsplit('/').next().unwrap_or(word));
    names.into_iter().any(|name| SERVERS.contains(&name))
}

/// The words that may be a program or a module, whatever the shell makes of the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "'\"`;&|(){}$=".contains(c)).filter(|word| !word.is_empty())
}

/// The first lines of a file that begins with an interpreter line.
fn start_of_script(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut start = Vec::new();
    File::open(path).ok()?.take(LOOKED_AT).read_to_end(&mut start).ok()?;
    start.starts_with(b"#!").then(|| String::from_utf8_lossy(&start).into_owned())
}

/// The argument with the folder in front of the value of each `PYTHONPATH=`. A folder that a shell would take apart is
/// left out: no quote fits everywhere.
fn with_folder(argument: &str, folder: &str) -> String {
    let plain = folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte));
    let mut parts = argument.split(VARIABLE);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let begins_a_word = !text.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        text.push_str(VARIABLE);
        if begins_a_word && plain {
            text.push_str(folder);
            text.push(':');
        }
        text.push_str(part);
    }
    text
}

/// The names of the two as programs and as modules; workers of uvicorn's are named together with gunicorn.
const SERVERS: [&str; 4] = ["gunicorn", "gunicorn3", "gunicorn.app.wsgiapp", "uvicorn"];
const VARIABLE: &str = "PYTHONPATH=";
/// The bytes of a script that are looked at.
const LOOKED_AT: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_seen_wherever_it_stands_in_a_command() {
        for text in [
            "gunicorn app:app",
            "/usr/bin/gunicorn3",
            "A=b exec .venv/bin/gunicorn -c gunicorn.conf.py app:app",
            "python3 -m gunicorn app:app",
            "python -m gunicorn.app.wsgiapp app:app",
            "sh -c 'gunicorn app:app; exit 4' 2>&1",
            "poetry run gunicorn app:app",
            "python manage.py migrate&&gunicorn app:app|tee log",
            "\"$VENV/bin/gunicorn\" app:app",
            "uvicorn --fd 3 app:app",
            "python3 -O -m uvicorn app:app",
        ] {
            assert!(names_one(text), "{text}");
        }
        for text in
            ["hypercorn app:app", "./gunicorn.conf.py", "python /srv/gunicorn/app.py", "gunicorns", ""]
        {
            assert!(!names_one(text), "{text}");
        }
    }

    #[test]
    fn folders_that_a_command_names_oneself_come_behind_ours() {
        let table = [
            ("PYTHONPATH=src gunicorn app:app", "PYTHONPATH=/run/x:src gunicorn app:app"),
            ("A=1 PYTHONPATH=\"a b\":$C gunicorn", "A=1 PYTHONPATH=/run/x:\"a b\":$C gunicorn"),
            ("PYTHONPATH=src", "PYTHONPATH=/run/x:src"),
            ("export PYTHONPATH=~/lib; gunicorn", "export PYTHONPATH=/run/x:~/lib; gunicorn"),
            ("MY_PYTHONPATH=src gunicorn", "MY_PYTHONPATH=src gunicorn"),
            ("gunicorn app:app", "gunicorn app:app"),
        ];
        for (argument, expected) in table {
            assert_eq!(with_folder(argument, "/run/x"), expected);
        }
        assert_eq!(with_folder("PYTHONPATH=src", "/run/a b"), "PYTHONPATH=src");
    }
}
