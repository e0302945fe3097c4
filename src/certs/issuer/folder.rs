//! Owns the pairs of a folder: the pairs are found by what the certificates say, the folder is looked at again and
//! again, and a bad pair never replaces a good one.
//!
//! Never here: reading files (`folder_pairs`), or which of several sources answers for a host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::certs::cert_entry::worse;
use crate::certs::certificate::Certificate;
use crate::certs::file_marks::{FileMark, RestWatch};
use crate::certs::{CertError, in_full};
use crate::name::HostName;

use super::folder_files::FolderFiles;
use super::folder_pairs::{FoundPairs, pairs_among};
use super::obtained::warn_of_disorder;
use super::{CertIssuer, CertNeed, Issued, Refreshing, blocking};

/// A folder of pairs.
pub(super) struct PairFolder {
    name: &'static str,
    root: PathBuf,
    watch: RestWatch<u64>,
    next_look: Instant,
    pause: Duration,
    holding: Arc<Holding>,
    /// The certificates as the status shows them; the list is made once for each change, because there may be
    /// thousands, and they are asked for every second.
    issued: Arc<[Issued]>,
}

/// The content of a folder.
#[derive(Default)]
struct Holding {
    /// The pairs, by the file with the certificate.
    pairs: BTreeMap<PathBuf, FolderPair>,
    /// The faults of files that are of no use, by file.
    flaws: BTreeMap<PathBuf, String>,
    /// Pairs that another pair outlives: that one has all their names and lasts longer. The second path is the other
    /// pair's.
    outlived: BTreeSet<(PathBuf, PathBuf)>,
}

#[derive(Clone)]
struct FolderPair {
    certificate: Certificate,
    key: PathBuf,
    /// The marks of the files as they were read; none where the files have changed into something of no use since.
    marks: Option<[FileMark; 2]>,
    /// Whether another file has the same certificate, with at least as long a chain.
    is_copy: bool,
}

impl PairFolder {
    /// Opens a folder that has to be there, and reads its pairs.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(super) async fn open(name: &'static str, root: &Path, now: SystemTime) -> Result<Self, CertError> {
        let listed = root.to_owned();
        let found = blocking(move || std::fs::read_dir(&listed).map(drop)).await?;
        found.map_err(|error| CertError::unreadable(root, error))?;
        Self::open_if_there(name, root, now).await
    }

    /// Opens a folder that may come later, and reads its pairs.
    ///
    /// # Errors
    /// When the attempt itself breaks.
    pub(super) async fn open_if_there(
        name: &'static str,
        root: &Path,
        now: SystemTime,
    ) -> Result<Self, CertError> {
        let mut own = Self {
            name,
            root: root.to_owned(),
            watch: RestWatch::new(0),
            next_look: Instant::now(),
            pause: SHORTEST_PAUSE,
            holding: Arc::default(),
            issued: Arc::default(),
        };
        let files = own.list().await?;
        own.watch = RestWatch::new(files.digest());
        own.take(files, now).await?;
        Ok(own)
    }

    async fn list(&mut self) -> Result<FolderFiles, CertError> {
        let (root, begun) = (self.root.clone(), Instant::now());
        let files = blocking(move || FolderFiles::below(&root)).await?;
        // The pause is a hundred times as long as the look took, so that looking costs at most a hundredth of a core.
        self.pause = (100 * begun.elapsed()).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.next_look = Instant::now() + self.pause;
        Ok(files)
    }

    async fn look(&mut self, now: SystemTime) -> bool {
        if Instant::now() < self.next_look {
            return false;
        }
        let Ok(files) = self.list().await else { return false };
        self.watch.look(files.digest()) && self.take(files, now).await.is_ok()
    }

    /// Serves what is in the files from now on.
    async fn take(&mut self, files: FolderFiles, now: SystemTime) -> Result<(), CertError> {
        let (before, root) = (Arc::clone(&self.holding), self.root.clone());
        let holding = blocking(move || before.after(&root, &files, now)).await?;
        holding.log(self.name, &self.holding);
        self.issued = holding.issued();
        self.holding = Arc::new(holding);
        Ok(())
    }
}

impl CertIssuer for PairFolder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_public(&self) -> bool {
        true
    }

    fn refresh<'a>(&'a mut self, need: &'a CertNeed<'a>) -> Refreshing<'a> {
        Box::pin(self.look(need.now))
    }

    fn issued(&self) -> Arc<[Issued]> {
        Arc::clone(&self.issued)
    }

    fn pause(&self, _: SystemTime) -> Duration {
        self.next_look.saturating_duration_since(Instant::now())
    }
}

impl Holding {
    fn issued(&self) -> Arc<[Issued]> {
        let pairs = self.pairs.iter().filter(|(_, pair)| !pair.is_copy).map(|(path, pair)| Issued {
            certificate: Some(pair.certificate.clone()),
            problem: self.flaws.get(path).cloned(),
            remedy: REMEDY,
        });
        let others = self.flaws.iter().filter(|(path, _)| !self.pairs.contains_key(*path));
        let others = others.map(|(_, flaw)| Issued { problem: Some(flaw.clone()), ..Issued::default() });
        pairs.chain(others).collect()
    }

    /// Reads the files, but for those of pairs that have not changed, and returns what is then held.
    fn after(&self, root: &Path, files: &FolderFiles, now: SystemTime) -> Self {
        let unchanged: BTreeMap<&PathBuf, &FolderPair> =
            self.pairs.iter().filter(|(cert, pair)| pair.is_unchanged(cert, files)).collect();
        let mut settled: BTreeSet<&PathBuf> = unchanged.keys().copied().collect();
        settled.extend(unchanged.values().map(|pair| &pair.key));
        let changed: Vec<PathBuf> =
            files.files.keys().filter(|path| !settled.contains(path)).cloned().collect();
        let mut found = pairs_among(&changed);
        // A changed certificate may belong to a key that another pair has, too: then all files are read.
        let is_complete = settled.is_empty() || found.flaws.is_empty();
        if !is_complete {
            let all: Vec<PathBuf> = files.files.keys().cloned().collect();
            found = pairs_among(&all);
        }
        let mut next = Self::default();
        if is_complete {
            next.pairs = unchanged.into_iter().map(|(cert, pair)| (cert.clone(), pair.clone())).collect();
        }
        next.add(found, files, self, now);
        next.keep_what_was_good(files, self);
        for (folder, error) in &files.unlisted {
            let absent =
                folder == root && error.kind() == std::io::ErrorKind::NotFound && next.pairs.is_empty();
            if !absent {
                let error = std::io::Error::new(error.kind(), error.to_string());
                next.flaws.insert(folder.clone(), in_full(&CertError::unreadable(folder, error)));
            }
        }
        next.settle_names();
        next
    }

    fn add(&mut self, found: FoundPairs, files: &FolderFiles, before: &Self, now: SystemTime) {
        for (cert, key, certificate) in found.pairs {
            // A certificate without names answers for no host, and lies here for some other purpose.
            if certificate.names.is_empty() {
                continue;
            }
            let marks = files.files.get(&cert).cloned().zip(files.files.get(&key).cloned());
            let marks = marks.map(|(cert, key)| [cert, key]);
            let old = before.pairs.get(&cert);
            let pair = match worse(&certificate, old.map(|old| &old.certificate), now) {
                Some(problem) => {
                    self.flaws.insert(cert.clone(), format!("`{}`: {problem}", cert.display()));
                    old.cloned().map(|old| FolderPair { marks: None, ..old })
                }
                None => {
                    let same = old.filter(|old| old.certificate.is_same(&certificate));
                    let certificate = same.map_or(certificate, |old| old.certificate.clone());
                    Some(FolderPair { certificate, key, marks, is_copy: false })
                }
            };
            self.pairs.extend(pair.map(|pair| (cert, pair)));
        }
        self.flaws.extend(found.flaws.iter().map(|(path, error)| (path.clone(), in_full(error))));
    }

    /// Keeps pairs whose files are still there but are no pairs any more, and those that cannot be looked at.
    fn keep_what_was_good(&mut self, files: &FolderFiles, before: &Self) {
        for (cert, old) in &before.pairs {
            let is_there = files.files.contains_key(cert) || files.may_hold(cert);
            if is_there && !self.pairs.contains_key(cert) {
                self.pairs.insert(cert.clone(), FolderPair { marks: None, ..old.clone() });
                self.flaws.entry(cert.clone()).or_insert_with(|| {
                    format!("`{}` is no certificate with its key any more; the old one stays", cert.display())
                });
            }
        }
    }

    /// Notes the pairs that are copies of another one, and those that another one outlives.
    fn settle_names(&mut self) {
        let rank = |path: &PathBuf| {
            let certificate = &self.pairs[path].certificate;
            (certificate.not_after, certificate.key.cert.len())
        };
        let mut best: HashMap<&HostName, &PathBuf> = HashMap::new();
        for (path, pair) in &self.pairs {
            for name in pair.certificate.names.iter() {
                let first = best.entry(name).or_insert(path);
                if rank(path) > rank(first) {
                    *first = path;
                }
            }
        }
        let mut copies = Vec::new();
        for (path, pair) in &self.pairs {
            let winners: BTreeSet<&PathBuf> =
                pair.certificate.names.iter().filter_map(|name| best.get(name).copied()).collect();
            let Some(winner) = winners.first().copied().filter(|_| !winners.contains(path)) else { continue };
            let other = &self.pairs[winner].certificate;
            if other.is_same(&pair.certificate) {
                copies.push((path.clone(), other.clone()));
            } else {
                self.outlived.insert((path.clone(), winner.clone()));
            }
        }
        for pair in self.pairs.values_mut() {
            pair.is_copy = false;
        }
        for (path, certificate) in copies {
            if let Some(pair) = self.pairs.get_mut(&path) {
                // Copies share one chain in memory.
                (pair.certificate, pair.is_copy) = (certificate, true);
            }
        }
    }

    fn log(&self, source: &'static str, before: &Self) {
        for (path, flaw) in self.flaws.iter().filter(|(path, flaw)| before.flaws.get(*path) != Some(flaw)) {
            let stays = if self.pairs.contains_key(path) { "; the one in use stays" } else { "" };
            tracing::warn!(source, problem = flaw, "a certificate of the folder is not used{stays}");
        }
        for (path, other) in self.outlived.difference(&before.outlived) {
            let (path, other) = (path.display(), other.display());
            tracing::info!(source, "`{path}` is not used: `{other}` has its names and lasts longer");
        }
        let mut taken = 0;
        for (path, pair) in self.pairs.iter().filter(|(_, pair)| !pair.is_copy) {
            let is_new = before
                .pairs
                .get(path)
                .is_none_or(|old| !Arc::ptr_eq(&old.certificate.key, &pair.certificate.key));
            taken += usize::from(is_new);
            if let Some(place) = pair.certificate.disorder.filter(|_| is_new) {
                tracing::warn!(source, path = %path.display(), "see the next record");
                warn_of_disorder(place);
            }
        }
        if taken > 0 {
            tracing::info!(
                source,
                new = taken,
                all = self.pairs.len(),
                "certificates of a folder are in use"
            );
        }
    }
}

impl FolderPair {
    fn is_unchanged(&self, cert: &Path, files: &FolderFiles) -> bool {
        self.marks.as_ref().is_some_and(|[cert_mark, key_mark]| {
            files.files.get(cert) == Some(cert_mark) && files.files.get(&self.key) == Some(key_mark)
        })
    }
}

const REMEDY: &str = "put another into its folder, which is looked at";
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
