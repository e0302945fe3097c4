//! Owns running mkcert, which signs with a local authority that the machine's browsers can be told to trust.
//!
//! Never here: installing that authority, or keeping what mkcert made.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::name::HostName;

/// Why mkcert made no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MkcertError {
    /// The program could not be started, or its files could not be read.
    #[error("cannot run `{}`", program.display())]
    Run {
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The program did not end in time and was killed.
    #[error("`{}` took longer than {} s", program.display(), limit.as_secs())]
    TooSlow {
        program: PathBuf,
        /// The time that the program had.
        limit: Duration,
    },
    /// The program ended with an error.
    #[error("`{}` failed: {said}", program.display())]
    Failed {
        program: PathBuf,
        /// The last line that the program wrote.
        said: String,
    },
}

/// mkcert as installed on this machine.
#[derive(Clone, Debug)]
pub(in crate::certs) struct Mkcert {
    program: PathBuf,
    limit: Duration,
}

impl Mkcert {
    /// Finds mkcert on `PATH`.
    pub(in crate::certs) fn find() -> Option<Self> {
        Self::find_on(&env::var_os("PATH")?)
    }

    pub(in crate::certs) fn find_on(path: &OsStr) -> Option<Self> {
        let program =
            env::split_paths(path).map(|folder| folder.join("mkcert")).find(|file| is_program(file))?;
        Some(Self { program, limit: LIMIT })
    }

    /// Has a certificate for `names` made, and returns key and chain as PEM in one text. `folder` is private and holds
    /// the files meanwhile. Dropping the future kills mkcert.
    pub(in crate::certs) async fn make(
        &self,
        folder: &Path,
        names: &[HostName],
    ) -> Result<Vec<u8>, MkcertError> {
        let failed = |source: io::Error| MkcertError::Run { program: self.program.clone(), source };
        let folder = tempfile::tempdir_in(folder).map_err(failed)?;
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));

        let mut command = Command::new(&self.program);
        command.arg("-ecdsa").arg("-cert-file").arg(&cert).arg("-key-file").arg(&key);
        command.args(names.iter().map(argument));
        self.run(command).await?;

        let mut pem = fs::read(&key).map_err(failed)?;
        pem.extend(fs::read(&cert).map_err(failed)?);
        Ok(pem)
    }

    async fn run(&self, mut command: Command) -> Result<(), MkcertError> {
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(self.limit, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(source)) => return Err(MkcertError::Run { program: self.program.clone(), source }),
            Err(_) => return Err(MkcertError::TooSlow { program: self.program.clone(), limit: self.limit }),
        };
        let said = said(&output);
        if !output.status.success() {
            let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").into();
            return Err(MkcertError::Failed { program: self.program.clone(), said });
        }
        if said.contains("not installed") {
            tracing::warn!("browsers do not trust mkcert's authority yet: run `mkcert -install` once");
        }
        Ok(())
    }
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A name as an argument: an IPv6 address without its brackets. No name starts with `-`.
fn argument(name: &HostName) -> String {
    name.address().map_or_else(|| name.to_string(), |address| address.to_string())
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}\n{err}")
}

/// The time limit: mkcert takes about a tenth of a second, and longer the first time, when it makes its authority.
const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use crate::certs::testing::{hosts, script};

    use super::*;

    async fn run(text: &str, limit: Duration) -> Result<Vec<u8>, MkcertError> {
        let dir = tempfile::tempdir().unwrap();
        script(&dir.path().join("mkcert"), text);
        let found = Mkcert::find_on(dir.path().as_os_str()).unwrap();
        let mkcert = Mkcert { limit, ..found };
        mkcert.make(dir.path(), &hosts(&["localhost", "::1", "*.a.example"])).await
    }

    #[tokio::test]
    async fn mkcert_is_given_the_names_and_both_files_come_back() {
        let pem = run("echo \"$1 $6 $7 $8\" > $3; echo key > $5", LIMIT).await.unwrap();
        assert_eq!(String::from_utf8(pem).unwrap(), "key\n-ecdsa localhost ::1 *.a.example\n");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_its_own_words() {
        let error = run("echo 'ERROR: no home' >&2; exit 1", LIMIT).await.unwrap_err();
        assert!(error.to_string().ends_with("mkcert` failed: ERROR: no home"), "{error}");
    }

    #[tokio::test]
    async fn a_mkcert_that_hangs_is_given_up() {
        let error = run("exec sleep 60", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, MkcertError::TooSlow { .. }), "{error}");
    }

    #[tokio::test]
    async fn success_without_files_is_a_failure() {
        assert!(matches!(run("exit 0", LIMIT).await, Err(MkcertError::Run { .. })));
    }

    #[test]
    fn a_folder_or_a_plain_file_is_no_mkcert() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        fs::create_dir_all(one.join("mkcert")).unwrap();
        fs::create_dir(&two).unwrap();
        fs::write(two.join("mkcert"), "text").unwrap();
        let path = env::join_paths([&one, &two]).unwrap();
        assert!(Mkcert::find_on(&path).is_none());
    }
}
