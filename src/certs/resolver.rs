//! Owns which certificate answers for a name at a handshake.
//!
//! Never here: where certificates come from; the keeper installs them, and a swap touches no open connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::name::HostName;

use super::certificate::Certificate;
use super::hosts::HostCertificates;

/// Answers rustls by SNI: the name itself, the wildcard one label up, the host's own self-signed certificate, else
/// the default certificate. Read without a lock, changed in place.
#[derive(Default)]
pub struct CertResolver {
    installed: ArcSwap<Installed>,
    /// Set once, when the server makes its own certificates.
    hosts: OnceLock<Arc<HostCertificates>>,
}

#[derive(Default)]
struct Installed {
    default: Option<Arc<CertifiedKey>>,
    by_name: HashMap<HostName, Arc<CertifiedKey>>,
}

impl CertResolver {
    /// Knows no certificate yet: handshakes fail until the keeper has installed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `default` and `others` in the place of all that was installed; each answers for its names, the first
    /// that has a name wins, and the default for everything else.
    pub(super) fn install(&self, default: &Certificate, others: &[Certificate]) {
        let mut by_name = HashMap::new();
        for certificate in std::iter::once(default).chain(others) {
            for name in certificate.names.iter() {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&certificate.key));
            }
        }
        let default = Some(Arc::clone(&default.key));
        self.installed.store(Arc::new(Installed { default, by_name }));
    }

    /// From now on registered hosts without a certificate of their own get one made.
    pub(super) fn make_for_hosts(&self, hosts: Arc<HostCertificates>) {
        // A second keeper on one resolver is a mistake that changes nothing: the first one's answers go on.
        self.hosts.set(hosts).ok();
    }

    /// The key for an SNI name in lower case.
    pub(super) fn key_for(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let installed = self.installed.load();
        name.and_then(|name| installed.named(name).or_else(|| self.hosts.get()?.key_for(name)))
            .or_else(|| installed.default.clone())
    }
}

impl Installed {
    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        if let Some(key) = self.by_name.get(name) {
            return Some(Arc::clone(key));
        }
        let (_, parent) = name.split_once('.')?;
        self.by_name.get(format!("*.{parent}").as_str()).cloned()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name on in lower case; a trailing dot is not allowed in SNI (RFC 6066 §3).
        self.key_for(hello.server_name())
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertResolver")
            .field("names", &self.installed.load().by_name.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, Link, Pem, now};
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        Pem::new(names, now(), now() + DAY).certificate()
    }

    #[test]
    fn the_name_decides_then_the_wildcard_then_the_default() {
        let default = certificate(&["localhost"]);
        let [exact, wildcard] = [&["www.a.example"], &["*.a.example"]].map(|names| certificate(names));
        let resolver = Arc::new(CertResolver::new());
        resolver.install(&default, &[exact.clone(), wildcard.clone()]);

        for (name, expected) in [
            ("www.a.example", &exact),
            ("WWW.A.Example", &exact),
            ("api.a.example", &wildcard),
            ("a.example", &default),
            ("two.deep.a.example", &default),
            ("localhost", &default),
            ("unknown.example", &default),
            ("127.0.0.1", &default),
        ] {
            let shown = Link::open(&resolver, name).unwrap().shown();
            assert_eq!(shown, expected.key.cert[0], "{name}");
        }
    }

    #[test]
    fn a_swap_is_for_new_connections_and_leaves_the_open_ones_alone() {
        let [old, new] = [(); 2].map(|()| certificate(&["a.example"]));
        let resolver = Arc::new(CertResolver::new());
        resolver.install(&old, &[]);
        let mut before = Link::open(&resolver, "a.example").unwrap();

        resolver.install(&new, &[]);

        assert_eq!(Link::open(&resolver, "a.example").unwrap().shown(), new.key.cert[0]);
        assert_eq!(before.shown(), old.key.cert[0]);
        assert!(before.works());
    }

    #[test]
    fn without_any_certificate_a_handshake_fails() {
        assert!(Link::open(&Arc::new(CertResolver::new()), "a.example").is_err());
    }
}
