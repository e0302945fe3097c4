//! Owns the files of users as they are now: each is read when it is first needed, and again when it has changed.
//!
//! When a file has become unreadable or wrong, its last good content counts; the log says so, once for each state of
//! the file. Never here: what stands in one (`passwords`).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::passwords::users::Users;

/// All files that settings have named since the start.
#[derive(Default)]
pub(in crate::acceptor) struct UserFiles(RwLock<HashMap<PathBuf, Arc<UserFile>>>);

struct UserFile {
    path: PathBuf,
    /// The lock of the one request that reads the file.
    reading: Mutex<()>,
    /// The file as it was last read; the lock is held for a look, never while the disk is waited for.
    state: Mutex<UserFileState>,
}

#[derive(Default)]
struct UserFileState {
    users: Option<Arc<Users>>,
    /// The stamp of the file at the last attempt to read it; `None`: the file did not exist.
    stamp: Option<UserFileStamp>,
    looked: Option<Instant>,
}

/// The times, inode and length of a file, which change when the file is written to or replaced.
type UserFileStamp = [i128; 4];

impl UserFiles {
    /// The users of a file, as it was at most [`LOOK`] ago; `None`: the file could never be read.
    pub(in crate::acceptor) async fn users(&self, path: &Path) -> Option<Arc<Users>> {
        let file = self.file(path);
        if let Some(users) = file.fresh() {
            return users;
        }
        // The task fails only when the runtime shuts down.
        spawn_blocking(move || file.look()).await.ok()?
    }

    fn file(&self, path: &Path) -> Arc<UserFile> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        known.unwrap_or_else(|| {
            let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let new =
                || UserFile { path: path.to_owned(), reading: Mutex::default(), state: Mutex::default() };
            Arc::clone(files.entry(path.to_owned()).or_insert_with(|| Arc::new(new())))
        })
    }
}

impl UserFile {
    /// The users, if the file was looked at within [`LOOK`].
    fn fresh(&self) -> Option<Option<Arc<Users>>> {
        let state = self.state();
        let is_fresh = state.looked.is_some_and(|looked| looked.elapsed() < LOOK);
        is_fresh.then(|| state.users.clone())
    }

    fn look(&self) -> Option<Arc<Users>> {
        let known = self.state().users.clone();
        let _reading = match self.reading.try_lock() {
            // Only one request waits for a disk that does not answer; the others go by what is known.
            Err(TryLockError::WouldBlock) if known.is_some() => return known,
            Err(TryLockError::WouldBlock) => self.reading.lock().unwrap_or_else(PoisonError::into_inner),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(reading) => reading,
        };
        if let Some(users) = self.fresh() {
            return users;
        }
        let stamp = stamp(&self.path);
        let (seen, known) = {
            let state = self.state();
            (state.looked.is_some() && state.stamp == stamp, state.users.clone())
        };
        let users = if seen { known } else { self.read().or(known) };
        let mut state = self.state();
        *state = UserFileState { users: users.clone(), stamp, looked: Some(Instant::now()) };
        users
    }

    fn read(&self) -> Option<Arc<Users>> {
        let file = self.path.display();
        match Users::read(&self.path) {
            Ok(users) => {
                tracing::info!(%file, users = users.len(), "the file of users {file} was read");
                Some(Arc::new(users))
            }
            Err(why) => {
                tracing::error!(%file, "the file of users {file} {why}; it counts as it was before");
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, UserFileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<UserFileStamp> {
    let file = fs::metadata(path).ok()?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (written, changed) = (nanos(file.mtime(), file.mtime_nsec()), nanos(file.ctime(), file.ctime_nsec()));
    Some([written, changed, i128::from(file.ino()), i128::from(file.size())])
}

/// The file is looked at again when the last look is older than this.
const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    #[tokio::test]
    async fn a_file_counts_as_it_is_and_as_it_was_while_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let files = UserFiles::default();
        let names = async |text: Option<&str>| {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap_or_default(),
            }
            let file = files.file(&path);
            let long_ago = file.state().looked.map(|looked| looked - LOOK);
            file.state().looked = long_ago;
            let users = files.users(&path).await;
            users.map(|users| ["a", "b"].map(|name| users.hash_of(name).is_some()))
        };
        assert_eq!(names(None).await, None);
        assert_eq!(names(Some(&format!("a:{HASH}\n"))).await, Some([true, false]));
        assert_eq!(names(Some(&format!("a:{HASH}\nb:{HASH}\n"))).await, Some([true, true]));
        assert_eq!(names(Some("b:secret\n")).await, Some([true, true]), "as it was");
        assert_eq!(names(Some(&format!("b:{HASH}\n"))).await, Some([false, true]));
        assert_eq!(names(None).await, Some([false, true]), "as it was");
        assert_eq!(names(Some("")).await, Some([false, false]));
    }
}
