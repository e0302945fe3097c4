//! Owns running the operator's programs: the one that sets DNS records, and the one that runs after each new pair.
//!
//! Never here: when they run.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::failure::{Failure, FailureKind};
use super::https::plain;

/// Runs a program to its end; the program is killed after a minute, and when the future is dropped.
///
/// # Errors
/// When the program cannot be started, takes longer than a minute, or ends with another status than 0; the error then
/// has the end of its standard error.
pub(super) async fn run<S: AsRef<OsStr>>(program: &Path, words: &[S]) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(FailureKind::Local, format!("`{}` {why}", program.display()));
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let ended = timeout(LONGEST, child.wait_with_output())
        .await
        .map_err(|_| failed(format!("did not end within {} s, and was killed", LONGEST.as_secs())))?
        .map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    if ended.status.success() {
        return Ok(());
    }
    let text = plain(&String::from_utf8_lossy(&ended.stderr));
    let cut = text.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
    let said = text.get(cut..).unwrap_or_default();
    Err(failed(format!(
        "ended with {}: {}",
        ended.status,
        if said.is_empty() { "it wrote nothing" } else { said }
    )))
}

const LONGEST: Duration = Duration::from_secs(60);
/// Characters of standard error that an error shows.
const SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, text: &str) -> std::path::PathBuf {
        let path = folder.join("hook");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_program_gets_its_words_and_what_it_complains_of_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), "#!/bin/sh\necho \"no $1 of $2\" >&2\n[ \"$1\" = present ]\n");
        run(&path, &["present", "_acme-challenge.a.example"]).await.unwrap();
        let failure = run(&path, &["cleanup", "_acme-challenge.a.example"]).await.unwrap_err();
        assert!(failure.text.ends_with("no cleanup of _acme-challenge.a.example"), "{}", failure.text);
        let missing = run(&folder.path().join("missing"), &["x"]).await.unwrap_err();
        assert!(missing.text.contains("cannot be started"), "{}", missing.text);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(folder.path(), "#!/bin/sh\nexec sleep 1000\n");
        let failure = run(&path, &["x"]).await.unwrap_err();
        assert!(failure.text.contains("did not end within 60 s"), "{}", failure.text);
    }
}
