//! Owns removing what systemd leaves in `/run/systemd/units` of workers' units that are gone: a file of the fields that
//! journald puts to their lines (`LogExtraFields=`), which systemd writes and never unlinks, at least to version 257.
//!
//! Never here: a unit, or a file of one that is loaded.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirEntry};
use std::future::Future;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

/// The files of units that were gone at the last look.
#[derive(Debug)]
pub(crate) struct Leftovers {
    folder: PathBuf,
    /// The inode numbers of the files by their names. A file with another number belongs to a unit that was started
    /// since under the same name.
    gone: BTreeMap<String, u64>,
}

impl Leftovers {
    /// The leftovers of this machine.
    pub(crate) fn of_machine() -> Self {
        Self::of(Path::new(FOLDER))
    }

    fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), gone: BTreeMap::new() }
    }

    /// Looks every [`EVERY`] until the future is dropped; `loaded` returns the names of all loaded units of workers.
    pub(crate) async fn keep_swept<L>(mut self, loaded: impl Fn() -> L)
    where
        L: Future<Output = zbus::Result<Vec<String>>>,
    {
        loop {
            sleep(EVERY).await;
            // The files are listed first: a unit that is not loaded after its file was seen is gone.
            let swept = match self.files() {
                Ok(files) if files.is_empty() => continue,
                Ok(files) => match loaded().await {
                    Ok(loaded) => self.sweep(files, &loaded.into_iter().collect()),
                    Err(error) => {
                        tracing::debug!(%error, "systemd does not say which workers there are");
                        continue;
                    }
                },
                Err(error) => Err(error),
            };
            if let Err(error) = swept {
                tracing::warn!(%error, folder = %self.folder.display(), "cannot remove what systemd left of workers that are gone");
            }
        }
    }

    /// The files by the names of their units, with their inode numbers.
    fn files(&self) -> io::Result<BTreeMap<String, u64>> {
        let named = |entry: DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let unit = name.strip_prefix(PREFIX)?.to_owned();
            unit.starts_with(WORKERS).then(|| (unit, entry.ino()))
        };
        fs::read_dir(&self.folder)?.filter_map(|entry| entry.map(named).transpose()).collect()
    }

    /// Removes the files of units that were gone at the last look, too, because journald may still be reading a unit's
    /// last lines when the unit is unloaded.
    fn sweep(&mut self, files: BTreeMap<String, u64>, loaded: &HashSet<String>) -> io::Result<()> {
        let gone: BTreeMap<_, _> = files.into_iter().filter(|(unit, _)| !loaded.contains(unit)).collect();
        let before = std::mem::replace(&mut self.gone, gone);
        for (unit, number) in &self.gone {
            if before.get(unit) != Some(number) {
                continue;
            }
            match fs::remove_file(self.folder.join(format!("{PREFIX}{unit}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The pattern that all workers' units match.
pub(crate) const ALL_WORKERS: &str = "rip-worker-*.service";
const WORKERS: &str = "rip-worker-";
const FOLDER: &str = "/run/systemd/units";
const PREFIX: &str = "log-extra-fields:";
/// The interval of looks. A file stays for at most two of them after its unit; the launcher lives for a minute after
/// its last call.
const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_once_their_units_are_gone_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let file = |unit: &str| folder.path().join(format!("{PREFIX}{unit}.service"));
        let there = |unit: &str| file(unit).exists();
        for unit in ["rip-worker-a-b-1", "rip-worker-a-b-2", "rip-worker-a-b-3", "other"] {
            fs::write(file(unit), "RIP_APP=b").unwrap();
        }
        let mut leftovers = Leftovers::of(folder.path());
        let mut look = |loaded: &[&str]| {
            let loaded = loaded.iter().map(|unit| format!("{unit}.service")).collect();
            leftovers.sweep(leftovers.files().unwrap(), &loaded).unwrap();
        };

        look(&["rip-worker-a-b-1"]);
        assert!(there("rip-worker-a-b-2") && there("rip-worker-a-b-3"));

        // Unit 3 is started once more under its name: systemd writes another file in the place of the old one.
        fs::write(folder.path().join("new"), "RIP_APP=b").unwrap();
        fs::rename(folder.path().join("new"), file("rip-worker-a-b-3")).unwrap();
        look(&["rip-worker-a-b-1"]);
        assert!(there("rip-worker-a-b-1") && there("rip-worker-a-b-3") && there("other"));
        assert!(!there("rip-worker-a-b-2"));
    }
}
