//! Owns `registry.json`: every entry as it was at one change, a host a line, for people to read and compare.
//!
//! Never here: later changes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::name::RouteName;
use crate::system::durable;

use super::{FILE_MODE, LAST_NUMBER, RegistryEntry, RegistryError};

#[derive(Default)]
pub(super) struct Snapshot {
    /// The number of the last change in the snapshot; 0 when no change was ever counted.
    pub(super) last_change: u64,
    pub(super) entries: BTreeMap<RouteName, RegistryEntry>,
}

impl Snapshot {
    /// Reads the file; a missing one is an empty registry.
    pub(super) fn read(path: &Path) -> Result<Self, RegistryError> {
        match fs::read(path) {
            Ok(bytes) => parse(path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RegistryError::Read { path: path.into(), source }),
        }
    }
}

/// Replaces the file; the new one is on the disk when this returns.
pub(super) fn write<'a>(
    path: &Path,
    last_change: u64,
    entries: impl Iterator<Item = &'a RegistryEntry>,
) -> Result<(), RegistryError> {
    let bytes = render(last_change, entries)?;
    durable::write_atomic(path, &bytes, FILE_MODE)
        .map_err(|source| RegistryError::Write { path: path.into(), source })
}

/// The only part that is read of another version's file: the rest may look like anything.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    /// The number of the last change; version 1 has none.
    #[serde(default, deserialize_with = "number")]
    last_change: u64,
    hosts: Vec<RegistryEntry>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number > LAST_NUMBER { Err(D::Error::custom("no change has such a number")) } else { Ok(number) }
}

/// Reads the bytes of a file; `path` is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Snapshot, RegistryError> {
    let malformed = |source: serde_json::Error| RegistryError::Malformed {
        path: path.into(),
        line: source.line(),
        column: source.column(),
        source,
    };
    let document = serde_json::from_slice::<Document>(bytes);
    let version = match &document {
        Ok(document) => document.version,
        Err(_) => serde_json::from_slice::<Versioned>(bytes).map_err(malformed)?.version,
    };
    if !(1..=VERSION).contains(&version) {
        return Err(RegistryError::Version { path: path.into(), found: version, known: VERSION });
    }
    let Document { last_change, hosts, .. } = document.map_err(malformed)?;
    Ok(Snapshot { last_change, entries: sorted(path, hosts)? })
}

fn sorted(
    path: &Path,
    mut hosts: Vec<RegistryEntry>,
) -> Result<BTreeMap<RouteName, RegistryEntry>, RegistryError> {
    hosts.sort_by(|one, two| one.host.cmp(&two.host));
    if let Some(twice) = hosts.windows(2).find(|pair| pair[0].host == pair[1].host) {
        return Err(RegistryError::Twice { path: path.into(), host: twice[0].host.clone() });
    }
    share_paths(&mut hosts);
    Ok(hosts.into_iter().map(|entry| (entry.host.clone(), entry)).collect())
}

/// Lets entries share their paths, because many hosts lead to few apps.
fn share_paths(entries: &mut [RegistryEntry]) {
    let mut known = HashSet::<Arc<Path>>::new();
    for entry in entries {
        match known.get(&entry.path) {
            Some(path) => entry.path = Arc::clone(path),
            None => drop(known.insert(Arc::clone(&entry.path))),
        }
    }
}

/// The text, one host a line, so that a person can read the file and compare two of them.
pub(super) fn render<'a>(
    last_change: u64,
    entries: impl Iterator<Item = &'a RegistryEntry>,
) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = format!("{{\"version\":{VERSION},\"last_change\":{last_change},\"hosts\":[").into_bytes();
    let mut separator: &[u8] = b"\n";
    for entry in entries {
        bytes.extend_from_slice(separator);
        serde_json::to_writer(&mut bytes, entry)
            .map_err(|source| RegistryError::Entry { host: entry.host.clone(), source })?;
        separator = b",\n";
    }
    bytes.extend_from_slice(b"\n]}\n");
    Ok(bytes)
}

const VERSION: u64 = 2;
