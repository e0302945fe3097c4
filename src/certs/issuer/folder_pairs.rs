//! Owns finding the pairs among files: which key belongs to which certificate, which their contents tell and not their
//! names.
//!
//! Never here: which of two pairs is served.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use memchr::memmem;
use rustls::pki_types::CertificateDer;

use crate::certs::CertError;
use crate::certs::certificate::{Certificate, CertificateError, Leaf, ServerKey, read_chain, read_key};

use super::files::blame;
use super::folder_files::has_pem_suffix;

/// The pairs and faults that were found in some files.
#[derive(Default)]
pub(super) struct FoundPairs {
    /// Each pair: the file of its certificate, that of its key, and what was read.
    pub(super) pairs: Vec<(PathBuf, PathBuf, Certificate)>,
    /// Files that are of no use although they seem to be meant as certificates or keys.
    pub(super) flaws: BTreeMap<PathBuf, CertError>,
}

/// Reads files and finds the pairs among them. Blocks on the disk; uses all cores where there are many files.
pub(super) fn pairs_among(files: &[PathBuf]) -> FoundPairs {
    let mut found = FoundPairs::default();
    let mut contents = in_parallel(files, |path| PemFile::read(path));
    for content in &mut contents {
        found.flaws.extend(content.flaw.take().map(|flaw| (content.path.clone(), flaw)));
    }
    let mut keys = KeyFiles::new();
    for content in &contents {
        if let Some(key) = &content.key
            && let Some(public) = key.public.as_deref()
        {
            keys.entry(public).or_insert((&content.path, key));
        }
    }
    let outcomes = in_parallel(&contents, |content| content.pair(&keys));
    for (content, outcome) in contents.iter().zip(outcomes) {
        let cert = content.path.clone();
        match outcome {
            Paired::NoCertificate => {}
            Paired::With(key, Ok(certificate)) => found.pairs.push((cert, key.to_owned(), certificate)),
            Paired::With(key, Err(error)) => drop(found.flaws.insert(cert, blame(&content.path, key, error))),
            Paired::Flawed(source) => {
                found.flaws.insert(cert.clone(), CertError::Invalid { path: cert, source });
            }
            Paired::Orphan(orphan) => {
                if let Some(flaw) = orphan.flaw(&cert, &contents, &mut found.flaws) {
                    found.flaws.insert(cert, flaw);
                }
            }
        }
    }
    found
}

/// The keys and their files, by the keys' public parts.
type KeyFiles<'a> = HashMap<&'a [u8], (&'a Path, &'a ServerKey)>;

/// The content of a file: a certificate, a key, both, or something else.
struct PemFile {
    path: PathBuf,
    chain: Option<Vec<CertificateDer<'static>>>,
    key: Option<ServerKey>,
    /// Why the file is of no use although it seems to be meant as a certificate or key.
    flaw: Option<CertError>,
}

/// The result of looking for the key of a certificate in a file.
enum Paired<'a> {
    With(&'a Path, Result<Certificate, CertificateError>),
    Flawed(CertificateError),
    Orphan(Orphan),
    NoCertificate,
}

/// A certificate whose key is in no file.
struct Orphan {
    /// Whether the certificate was made for hosts, and signs no others.
    serves: bool,
}

impl PemFile {
    fn read(path: &Path) -> Self {
        let mut own = Self { path: path.to_owned(), chain: None, key: None, flaw: None };
        match fs::read(path) {
            Ok(bytes) => {
                if let Err(source) = own.parse(&bytes) {
                    own.flaw = Some(CertError::Invalid { path: path.to_owned(), source });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file with another suffix may be anything.
            Err(error) if has_pem_suffix(path) => own.flaw = Some(CertError::unreadable(path, error)),
            Err(_) => {}
        }
        own
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<(), CertificateError> {
        let has = |label: &[u8]| memmem::find(bytes, label).is_some();
        let (has_chain, has_key) = (has(b"-----BEGIN CERTIFICATE-----"), has(b"PRIVATE KEY-----"));
        // Parameters, requests and public keys often lie beside certificates.
        let says_so = has_pem_suffix(&self.path) && !has(b"-----BEGIN ");
        let is_key = self.path.extension() == Some(OsStr::new("key"));
        if has_chain || (says_so && !is_key) {
            self.chain = Some(read_chain(bytes)?);
        }
        if has_key || (says_so && is_key) {
            self.key = Some(ServerKey::load(read_key(bytes)?)?);
        }
        Ok(())
    }

    fn pair<'a>(&'a self, keys: &KeyFiles<'a>) -> Paired<'a> {
        let Some(chain) = &self.chain else { return Paired::NoCertificate };
        let all = match Leaf::all(chain) {
            Ok(all) => all,
            Err(error) => return Paired::Flawed(error),
        };
        let Some(own) = all.first() else { return Paired::NoCertificate };
        let key_of = |leaf: &Leaf| keys.get(leaf.public.as_slice());
        // In a chain in the wrong order the key belongs to a later certificate; trying the pair says what is wrong.
        let misplaced = || all.iter().skip(1).filter(|other| other.serves()).find_map(key_of);
        match key_of(own).or_else(misplaced) {
            Some((holder, key)) => Paired::With(holder, Certificate::of(chain.clone(), key)),
            None => Paired::Orphan(Orphan { serves: own.serves() }),
        }
    }
}

impl Orphan {
    /// Why a certificate is not served; `None` where nobody would expect it to be. A flaw of the certificate's key file
    /// is the certificate's flaw, too.
    fn flaw(
        &self,
        cert: &Path,
        all: &[PemFile],
        flaws: &mut BTreeMap<PathBuf, CertError>,
    ) -> Option<CertError> {
        if flaws.contains_key(cert) {
            return None;
        }
        let told = flaws.keys().find(|path| belong_together(cert, path)).cloned();
        if let Some(error) = told.and_then(|key| flaws.remove(&key)) {
            return Some(error);
        }
        if !self.serves {
            return None;
        }
        let other = all.iter().find(|other| other.key.is_some() && belong_together(cert, &other.path));
        Some(match other {
            Some(other) => {
                CertError::Invalid { path: other.path.clone(), source: CertificateError::Mismatch }
            }
            None => CertError::NoKey { path: cert.to_owned() },
        })
    }
}

/// Whether the names of two files say that they are a pair: `blog.pem` and `blog.key`, `fullchain.pem` and
/// `privkey.pem`.
fn belong_together(cert: &Path, key: &Path) -> bool {
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut name = name.as_str();
        for end in [".pem", ".crt", ".cer", ".cert", ".key", "-key", "_key", "-cert", "_cert"] {
            name = name.strip_suffix(end).unwrap_or(name);
        }
        match name {
            "fullchain" | "cert" | "tls" | "privkey" | "key" | "server" => String::new(),
            other => other.replace("fullchain", "").replace("cert", "").replace("privkey", ""),
        }
    };
    cert != key && cert.parent() == key.parent() && stem(cert) == stem(key)
}

/// Does the same work for each item, on all cores where that pays.
fn in_parallel<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len() / LEAST + 1);
    let share = items.len().div_ceil(threads).max(1);
    let work = &work;
    thread::scope(|scope| {
        let start = |part: &'a [T]| {
            let name = thread::Builder::new().name("certificates".into());
            (part, name.spawn_scoped(scope, move || part.iter().map(work).collect::<Vec<R>>()))
        };
        let parts: Vec<_> = items.chunks(share).map(start).collect();
        let end = |(part, thread): (&'a [T], io::Result<thread::ScopedJoinHandle<'_, Vec<R>>>)| {
            // The calling thread does the work where no other can be started.
            let done = thread.ok().and_then(|thread| thread.join().ok());
            done.unwrap_or_else(|| part.iter().map(work).collect())
        };
        parts.into_iter().flat_map(end).collect()
    })
}

/// The fewest items that are worth a thread.
const LEAST: usize = 64;
