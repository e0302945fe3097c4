//! Owns the one fact about generations that outlives a server: which generation of each app serves.
//!
//! Never here: what a generation is. A file that cannot be read counts as missing; the generations that surviving
//! workers name then count.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::name::{AppName, GenerationId};
use crate::system::durable::write_atomic;

/// The serving generation of each app. Clones share one map.
#[derive(Clone, Default)]
pub(super) struct ServingGenerations(Arc<GenerationsInner>);

#[derive(Default)]
struct GenerationsInner {
    /// The file; `None`: the map is kept in memory only.
    path: Option<PathBuf>,
    /// The map; the lock is held while the file is written, so that the file has the latest note.
    current: Mutex<BTreeMap<AppName, GenerationId>>,
}

#[derive(Serialize, Deserialize)]
struct GenerationsFile {
    version: u32,
    current: BTreeMap<AppName, GenerationId>,
}

impl ServingGenerations {
    /// Reads the file that an earlier server has written.
    pub(super) fn open(path: Option<PathBuf>) -> Self {
        let current = path.as_deref().map(read).unwrap_or_default();
        Self(Arc::new(GenerationsInner { path, current: Mutex::new(current) }))
    }

    /// The generation of an app that serves, or that served last.
    pub(super) fn current(&self, app: &AppName) -> Option<GenerationId> {
        self.lock().get(app).copied()
    }

    /// Notes the generation that serves now; blocks for the write of a small file.
    pub(super) fn note(&self, app: &AppName, generation: GenerationId) {
        let mut current = self.lock();
        current.insert(app.clone(), generation);
        let Some(path) = &self.0.path else { return };
        let page = GenerationsFile { version: VERSION, current: current.clone() };
        let written = serde_json::to_vec(&page)
            .map_err(io::Error::from)
            .and_then(|bytes| write_atomic(path, &bytes, 0o600));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot write down which generation serves");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, GenerationId>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> BTreeMap<AppName, GenerationId> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read which generations served");
            return BTreeMap::new();
        }
    };
    match serde_json::from_slice::<GenerationsFile>(&text) {
        Ok(page) if page.version == VERSION => page.current,
        Ok(page) => {
            tracing::warn!(path = %path.display(), version = page.version, "which generations served is told in a version that is not known here");
            BTreeMap::new()
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "which generations served cannot be understood");
            BTreeMap::new()
        }
    }
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_for_the_next_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("generations.json");
        let blog = AppName::parse("blog").unwrap();
        assert_eq!(ServingGenerations::open(Some(path.clone())).current(&blog), None);
        ServingGenerations::open(Some(path.clone())).note(&blog, GenerationId(3));
        assert_eq!(ServingGenerations::open(Some(path.clone())).current(&blog), Some(GenerationId(3)));
        for broken in ["", "{}", r#"{"version":9,"current":{}}"#] {
            fs::write(&path, broken).unwrap();
            assert_eq!(ServingGenerations::open(Some(path.clone())).current(&blog), None, "{broken}");
        }
    }
}
