//! Owns the certificates of one issuer by their names, and the choice of the one that answers for a name.
//!
//! Never here: handshakes (`resolver`), and where certificates come from.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::SystemTime;

use crate::name::HostName;

use super::certificate::Certificate;

/// The certificates of one issuer.
#[derive(Debug, Default)]
pub(super) struct CertLayer {
    is_public: bool,
    first: Option<Certificate>,
    /// The certificates for each name, the one that lasts longest first.
    by_name: HashMap<HostName, Vec<Certificate>>,
}

impl CertLayer {
    /// `is_public`: whether clients elsewhere may know who signed the certificates.
    pub(super) fn new(certificates: impl IntoIterator<Item = Certificate>, is_public: bool) -> Self {
        let (mut first, mut by_name) = (None, HashMap::<_, Vec<Certificate>>::new());
        for certificate in certificates {
            for name in certificate.names.iter() {
                by_name.entry(name.clone()).or_default().push(certificate.clone());
            }
            first.get_or_insert(certificate);
        }
        for candidates in by_name.values_mut() {
            candidates.sort_by_key(|candidate| Reverse(candidate.not_after));
            candidates.shrink_to_fit();
        }
        by_name.shrink_to_fit();
        Self { is_public, first, by_name }
    }

    /// Whether there is a certificate, and clients elsewhere may know who signed it.
    pub(super) fn is_public(&self) -> bool {
        self.is_public && self.first.is_some()
    }

    /// The certificate for clients that name no host.
    pub(super) fn first(&self) -> Option<&Certificate> {
        self.first.as_ref()
    }

    /// The certificates for a host, the best first; those for its wildcard where none has the name itself.
    pub(super) fn named(&self, name: &str) -> Option<&[Certificate]> {
        if self.by_name.is_empty() {
            return None;
        }
        let found = self.by_name.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(format!("*.{parent}").as_str())
        });
        found.map(Vec::as_slice)
    }

    /// Each name, with the end of the certificate that answers for it at `now`.
    pub(super) fn ends(&self, now: SystemTime) -> impl Iterator<Item = (&HostName, SystemTime)> {
        self.by_name
            .iter()
            .filter_map(move |(name, found)| Some((name, best(found, now).or(found.first())?.not_after)))
    }
}

/// The first candidate that is valid at `now`.
pub(super) fn best(candidates: &[Certificate], now: SystemTime) -> Option<&Certificate> {
    candidates.iter().find(|candidate| candidate.is_good(now))
}

/// The certificate for a host among issuers in their order: the first that is valid at `now`, and where none is, the
/// first.
pub(super) fn find<'a>(
    layers: impl IntoIterator<Item = &'a CertLayer>,
    name: &str,
    now: SystemTime,
) -> Option<&'a Certificate> {
    let mut fallback = None;
    for candidates in layers.into_iter().filter_map(|layer| layer.named(name)) {
        if let Some(good) = best(candidates, now) {
            return Some(good);
        }
        fallback = fallback.or(candidates.first());
    }
    fallback
}
