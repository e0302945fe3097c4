//! Owns which certificate answers for a name at a handshake.
//!
//! Never here: where certificates come from; the keeper installs them, and a swap touches no open connection.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::name::HostName;
use crate::time::WallClock;

use super::cert_table::{self, CertLayer};
#[cfg(test)]
use super::certificate::Certificate;
use super::host_certs::HostCertificates;

/// Answers rustls by SNI: with the certificate of the first issuer that has one for the name, else with the host's own
/// self-signed one, else with the default certificate. Reading takes no lock; installing changes what all readers see.
pub(crate) struct CertResolver {
    installed: ArcSwap<InstalledCerts>,
    /// The certificates that the server makes for hosts; set once, if it makes any.
    hosts: OnceLock<Arc<HostCertificates>>,
    clock: WallClock,
}

/// The certificates that handshakes are answered with.
#[derive(Default)]
pub(super) struct InstalledCerts {
    /// The certificates of each issuer, in their order.
    pub(super) layers: Vec<Arc<CertLayer>>,
    /// The host whose certificate clients get that name no host, or an unknown one.
    pub(super) default: Option<HostName>,
}

/// The answer to a handshake.
#[derive(Clone, Debug)]
pub(super) enum CertAnswer {
    /// The certificate to answer with.
    Key(Arc<CertifiedKey>),
    /// A refusal: the name is none of this server's (RFC 6066 §3, `unrecognized_name`).
    UnknownName,
    /// No answer: no certificate is installed yet.
    Nothing,
}

impl CertResolver {
    /// Starts without a certificate: handshakes fail until the keeper has installed one.
    pub(crate) fn new(clock: WallClock) -> Self {
        Self { installed: ArcSwap::default(), hosts: OnceLock::new(), clock }
    }

    /// Whether a handshake that asks for `name`, in lower case, is refused. The handshake is refused when the server
    /// has certificates of an issuer that clients may know, and none is for that name, no host of that name is
    /// registered, and no default is set.
    pub(crate) fn refuses(&self, name: Option<&str>) -> bool {
        matches!(self.answer(name), CertAnswer::UnknownName)
    }

    /// Installs these certificates in the place of all others.
    pub(super) fn install(&self, certs: InstalledCerts) {
        self.installed.store(Arc::new(certs));
    }

    /// Has certificates made for registered hosts without one, from now on.
    pub(super) fn make_for_hosts(&self, hosts: Arc<HostCertificates>) {
        // A second keeper on one resolver is a mistake: the first keeper's hosts stay.
        self.hosts.set(hosts).ok();
    }

    /// The answer for an SNI name in lower case.
    pub(super) fn answer(&self, name: Option<&str>) -> CertAnswer {
        let (installed, now) = (self.installed.load(), self.clock.now());
        if let Some(key) = name.and_then(|name| self.named(&installed, name, now)) {
            return CertAnswer::Key(key);
        }
        let set = installed.default.as_ref();
        let set = set.and_then(|host| self.named(&installed, host.as_str(), now));
        if set.is_none() && name.is_some() && installed.layers.iter().any(|layer| layer.is_public()) {
            return CertAnswer::UnknownName;
        }
        let first = || Some(Arc::clone(&installed.layers.iter().find_map(|layer| layer.first())?.key));
        set.or_else(first).map_or(CertAnswer::Nothing, CertAnswer::Key)
    }

    fn named(&self, installed: &InstalledCerts, name: &str, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        match cert_table::find(installed.layers.iter().map(Arc::as_ref), name, now) {
            Some(found) => Some(Arc::clone(&found.key)),
            None => self.hosts.get()?.key_for(name),
        }
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name on in lower case; SNI allows no trailing dot (RFC 6066 §3).
        match self.answer(hello.server_name()) {
            CertAnswer::Key(key) => Some(key),
            CertAnswer::UnknownName | CertAnswer::Nothing => None,
        }
    }
}

#[cfg(test)]
impl CertResolver {
    /// Installs an issuer with these certificates, whom nobody elsewhere knows. For tests.
    pub(super) fn show(&self, certificates: &[&Certificate]) {
        let certificates = certificates.iter().map(|&certificate| certificate.clone());
        let layers = vec![Arc::new(CertLayer::new(certificates, false))];
        self.install(InstalledCerts { layers, default: None });
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertResolver").field("layers", &self.installed.load().layers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DAY, Link, Pem, now, resolver};
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        Pem::new(names, now(), now() + DAY).certificate()
    }

    #[test]
    fn the_name_decides_then_the_wildcard_then_the_default() {
        let default = certificate(&["localhost"]);
        let [exact, wildcard] = [&["www.a.example"], &["*.a.example"]].map(|names| certificate(names));
        let resolver = resolver();
        resolver.show(&[&default, &exact, &wildcard]);

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
    fn the_order_of_issuers_decides_before_the_names_and_what_has_expired_comes_last() {
        let [own, other, late] = [&["*.a.example"][..], &["www.a.example"], &["b.example"]].map(certificate);
        let old = Pem::new(&["b.example"], now() - 2 * DAY, now() - DAY).certificate();
        let layer = |certificates: &[&Certificate]| {
            Arc::new(CertLayer::new(certificates.iter().map(|&own| own.clone()), true))
        };
        let resolver = resolver();
        let layers = vec![layer(&[&own, &old]), layer(&[&other, &late])];
        resolver.install(InstalledCerts { layers, default: None });

        for (name, expected) in [("www.a.example", &own), ("b.example", &late), ("127.0.0.1", &own)] {
            let shown = Link::open(&resolver, name).unwrap().shown();
            assert_eq!(shown, expected.key.cert[0], "{name}");
        }
        assert!(resolver.refuses(Some("c.example")) && !resolver.refuses(None));
    }

    #[test]
    fn strangers_get_the_default_where_one_is_set_or_nobody_knows_the_issuer() {
        let [one, two] = [&["a.example"][..], &["b.example"]].map(certificate);
        for (is_public, default, expected) in [
            (true, None, None),
            (true, Some("b.example"), Some(&two)),
            (false, None, Some(&one)),
            (true, Some("c.example"), None),
        ] {
            let resolver = resolver();
            let layers = vec![Arc::new(CertLayer::new([one.clone(), two.clone()], is_public))];
            let default = default.map(|host| HostName::parse(host).unwrap());
            resolver.install(InstalledCerts { layers, default });
            assert_eq!(resolver.refuses(Some("x.example")), expected.is_none());
            if let Some(expected) = expected {
                assert_eq!(Link::open(&resolver, "x.example").unwrap().shown(), expected.key.cert[0]);
            }
        }
    }

    #[test]
    fn a_swap_is_for_new_connections_and_leaves_the_open_ones_alone() {
        let [old, new] = [(); 2].map(|()| certificate(&["a.example"]));
        let resolver = resolver();
        resolver.show(&[&old]);
        let mut before = Link::open(&resolver, "a.example").unwrap();

        resolver.show(&[&new]);

        assert_eq!(Link::open(&resolver, "a.example").unwrap().shown(), new.key.cert[0]);
        assert_eq!(before.shown(), old.key.cert[0]);
        assert!(before.works());
    }

    #[test]
    fn without_any_certificate_a_handshake_fails() {
        assert!(Link::open(&resolver(), "a.example").is_err());
    }
}
