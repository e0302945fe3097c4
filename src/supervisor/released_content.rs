//! Owns the one fact about release steps that outlives a server and a boot: for which content of each app one has
//! succeeded last.
//!
//! Never here: what the content is (`files::content`), or running a step. A file that cannot be read counts as missing;
//! the step then runs once more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::name::AppName;
use crate::system::durable::write_atomic;

/// The content that was released last of each app. Clones share one map.
#[derive(Clone)]
pub(super) struct ReleasedContent(Arc<ReleasedInner>);

struct ReleasedInner {
    path: PathBuf,
    /// The map; the lock is held while the file is written, so that the file has the latest note.
    words: Mutex<BTreeMap<AppName, String>>,
}

#[derive(Serialize, Deserialize)]
struct ReleasedFile {
    version: u32,
    released: BTreeMap<AppName, String>,
}

impl ReleasedContent {
    /// Reads the file that an earlier server has written.
    pub(super) fn open(path: PathBuf) -> Self {
        let words = read(&path);
        Self(Arc::new(ReleasedInner { path, words: Mutex::new(words) }))
    }

    /// Whether the release step of an app has succeeded last for this content.
    pub(super) fn is_of(&self, app: &AppName, word: &str) -> bool {
        self.lock().get(app).is_some_and(|known| known == word)
    }

    /// Notes that the release step has succeeded for this content; blocks for the write of a small file.
    pub(super) fn note(&self, app: &AppName, word: String) {
        let mut words = self.lock();
        words.insert(app.clone(), word);
        let file = ReleasedFile { version: VERSION, released: words.clone() };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|bytes| write_atomic(&self.0.path, &bytes, 0o600));
        if let Err(error) = written {
            let path = self.0.path.display();
            tracing::warn!(%path, %error, "cannot write down that a release step has run: it runs again at the next start");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, String>> {
        self.0.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> BTreeMap<AppName, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read which release steps have run");
            return BTreeMap::new();
        }
    };
    match serde_json::from_slice::<ReleasedFile>(&text) {
        Ok(file) if file.version == VERSION => file.released,
        _ => {
            tracing::warn!(path = %path.display(), "which release steps have run cannot be understood");
            BTreeMap::new()
        }
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_known_to_the_next_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("releases.json");
        let blog = AppName::parse("blog").unwrap();
        let open = || ReleasedContent::open(path.clone());
        assert!(!open().is_of(&blog, "a"));
        open().note(&blog, "a".into());
        assert!(open().is_of(&blog, "a") && !open().is_of(&blog, "b"));
        for broken in ["", "{}", r#"{"version":9,"released":{"blog":"a"}}"#] {
            fs::write(&path, broken).unwrap();
            assert!(!open().is_of(&blog, "a"), "{broken}");
        }
    }
}
