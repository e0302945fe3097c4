//! Owns the pairs that the agent has got from authorities: reading them from its folder, and noticing new ones.
//!
//! Never here: getting and renewing them (`agent`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::metrics::Metrics;

use super::certificate::Certificate;
use super::files::{FilePair, Mark};
use super::in_full;
use super::origin::blocking;

/// The pairs in the agent's folder, `HOST/fullchain.pem` and `HOST/privkey.pem` each.
#[derive(Clone, Debug)]
pub(super) struct AgentPairs {
    folder: PathBuf,
    pairs: BTreeMap<PathBuf, (Mark, Option<Certificate>)>,
}

impl AgentPairs {
    /// No pair yet: the first [`look`](Self::look) finds them.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, pairs: BTreeMap::new() }
    }

    /// Brings what is kept in `slot` up to date; true when it is not what it was. Cancel-safe.
    pub(super) async fn look(slot: &ArcSwap<Self>, metrics: &Metrics) -> bool {
        let known = slot.load_full();
        let Ok(Some(pairs)) = blocking(move || known.refreshed()).await else { return false };
        for certificate in pairs.certificates() {
            for name in certificate.names.iter() {
                metrics.set_certificate_expiry(name, certificate.not_after);
            }
        }
        slot.store(Arc::new(pairs));
        true
    }

    /// What is there now, when it is not what was there; blocks on the disk. A pair that cannot be used never takes the
    /// place of one that can.
    fn refreshed(&self) -> Option<Self> {
        let now: BTreeMap<PathBuf, Mark> =
            self.folders().into_iter().map(|at| (at.clone(), pair_in(&at).mark())).collect();
        if now.len() == self.pairs.len() && now.iter().all(|(at, mark)| self.mark(at) == Some(mark)) {
            return None;
        }
        let pairs = now.into_iter().map(|(at, mark)| {
            let known = self.pairs.get(&at);
            if let Some((_, certificate)) = known.filter(|(known, _)| *known == mark) {
                return (at, (mark, certificate.clone()));
            }
            let read = pair_in(&at).load().map_err(|error| {
                tracing::warn!(error = in_full(&error), "a pair of the agent's is not used");
            });
            let before = known.and_then(|(_, certificate)| certificate.clone());
            (at, (mark, read.ok().or(before)))
        });
        Some(Self { folder: self.folder.clone(), pairs: pairs.collect() })
    }

    /// Those that can be used.
    pub(super) fn certificates(&self) -> Vec<Certificate> {
        self.pairs.values().filter_map(|(_, certificate)| certificate.clone()).collect()
    }

    fn mark(&self, at: &Path) -> Option<&Mark> {
        self.pairs.get(at).map(|(mark, _)| mark)
    }

    fn folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let ours = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
        entries.filter_map(Result::ok).filter(ours).map(|entry| entry.path()).collect()
    }
}

fn pair_in(folder: &Path) -> FilePair {
    FilePair::new(folder.join("fullchain.pem"), folder.join("privkey.pem"))
}
