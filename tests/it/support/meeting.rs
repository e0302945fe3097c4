//! The folder where a test and the scripted worker meet: gates the test opens, and what the worker saw.

use std::path::PathBuf;

use serde::Deserialize;

use super::until;

/// See `worker.py`.
pub(crate) struct Meeting {
    folder: PathBuf,
}

impl Meeting {
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Waits until a worker has come to this point.
    pub(crate) async fn reached(&self, name: &str) {
        until(&format!("the worker comes to {name}"), || async { self.has_reached(name) }).await;
    }

    /// Whether a worker has come to this point.
    pub(crate) fn has_reached(&self, name: &str) -> bool {
        self.folder.join(format!("at.{name}")).exists()
    }

    /// Lets the worker go on from this point, now or when it comes there.
    pub(crate) fn open(&self, name: &str) {
        std::fs::write(self.folder.join(format!("open.{name}")), "").unwrap();
    }

    /// Every request the workers have seen, in order, without bodies.
    pub(crate) fn views(&self) -> Vec<View> {
        let lines = std::fs::read_to_string(self.folder.join("views.jsonl")).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The targets of the requests the workers have seen.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.views().into_iter().map(|view| view.target).collect()
    }

    /// The things that a worker has seen and must never see.
    pub(crate) fn violations(&self) -> String {
        std::fs::read_to_string(self.folder.join("violations")).unwrap_or_default()
    }

    /// Fails the test when a worker saw what it must never see.
    pub(crate) fn assert_no_violations(&self) {
        assert_eq!(self.violations(), "");
    }
}

/// A request as a worker saw it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pid: u32,
    /// The worker's number of the connection it came over.
    #[serde(default)]
    pub(crate) connection: u32,
    /// The head, byte by byte.
    pub(crate) raw: String,
    /// Only in the answer of `/view`.
    #[serde(default)]
    pub(crate) length: usize,
    /// Behind the body; only in the answer of `/view`.
    #[serde(default)]
    pub(crate) trailers: Vec<(String, String)>,
}

impl View {
    /// All values of the field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of the field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is there {} times", values.len());
        values.first().copied()
    }
}
