//! Owns the look at the certificate that clients of a host get: where the certificate is from, who signed it, how long
//! it lives.
//!
//! Never here: answering handshakes (`resolver`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::certs::cert_table::{CertLayer, best};
use crate::certs::certificate::Certificate;
use crate::name::HostName;

use super::CertKeeper;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServedCert {
    /// The certificate's source: `files`, `folder`, `imported`, `acme`, `mkcert` or `self-signed`.
    pub(crate) source: &'static str,
    /// The names in it.
    pub(crate) names: Arc<[HostName]>,
    /// The signer of the certificate, as the certificate names it.
    pub(crate) issuer: String,
    /// The serial number, in hexadecimal pairs with colons.
    pub(crate) serial: String,
    /// When the certificate becomes valid.
    pub(crate) not_before: SystemTime,
    /// When the certificate ends.
    pub(crate) not_after: SystemTime,
    /// Why there is no better certificate, if there is a reason.
    pub(crate) problem: Option<String>,
}

impl ServedCert {
    /// Whether an operator has put the certificate there, so that the server does not renew it.
    pub(crate) fn is_from_people(&self) -> bool {
        FROM_PEOPLE.contains(&self.source)
    }
}

impl CertKeeper {
    /// The certificates that clients of these hosts get; `None` where one is made at the first handshake.
    pub(crate) fn served(&self, hosts: &[HostName]) -> Vec<Option<ServedCert>> {
        let now = self.shown.clock.now();
        let issued = self.shown.issued.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut problems = HashMap::new();
        let mut layers = Vec::new();
        for (source, issued) in issued {
            let certificates = issued.iter().filter_map(|issued| {
                let certificate = issued.certificate.clone()?;
                problems.extend(issued.problem.clone().map(|problem| (certificate.identity(), problem)));
                Some(certificate)
            });
            layers.push((source, CertLayer::new(certificates, false)));
        }
        let made = self.shown.hosts.as_ref().map_or_else(Vec::new, |hosts| hosts.all());
        layers.push((MADE, CertLayer::new(made, false)));
        let look = |host: &HostName| {
            let (source, certificate) = find(&layers, host, now)?;
            Some(ServedCert::of(source, certificate, problems.get(&certificate.identity()).cloned()))
        };
        hosts.iter().map(look).collect()
    }

    /// The hosts, of those given, for which an operator has put a good certificate there, so that the server renews
    /// none.
    pub(crate) fn kept_by_people(&self, hosts: &[HostName]) -> HashSet<HostName> {
        let now = self.shown.clock.now();
        let issued = self.shown.issued.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_people = issued.iter().filter(|(source, _)| FROM_PEOPLE.contains(source));
        let certificates =
            of_people.flat_map(|(_, issued)| issued.iter()).filter_map(|issued| issued.certificate.clone());
        let layer = CertLayer::new(certificates, false);
        let kept = |host: &&HostName| layer.named(host.as_str()).and_then(|own| best(own, now)).is_some();
        hosts.iter().filter(kept).cloned().collect()
    }

    /// Tells when other certificates are in use than before.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shown.changed.subscribe()
    }
}

impl ServedCert {
    fn of(source: &'static str, certificate: &Certificate, problem: Option<String>) -> Self {
        let own = certificate.key.cert.first().and_then(|own| X509Certificate::from_der(own).ok());
        let (issuer, serial) = own.map_or_else(Default::default, |(_, own)| {
            let common = own.issuer().iter_common_name().chain(own.issuer().iter_organization()).next();
            let issuer = common.and_then(|name| name.as_str().ok().map(str::to_owned));
            (issuer.unwrap_or_else(|| own.issuer().to_string()), own.raw_serial_as_string())
        });
        Self {
            source,
            names: Arc::clone(&certificate.names),
            issuer,
            serial,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            problem,
        }
    }
}

/// The certificate that a handshake for the host finds: that of the first source with a good one, and where none is
/// good, the first.
fn find<'a>(
    layers: &'a [(&'static str, CertLayer)],
    host: &HostName,
    now: SystemTime,
) -> Option<(&'static str, &'a Certificate)> {
    let named = || layers.iter().filter_map(|(source, layer)| Some((*source, layer.named(host.as_str())?)));
    let good = named().find_map(|(source, candidates)| Some((source, best(candidates, now)?)));
    good.or_else(|| named().find_map(|(source, candidates)| Some((source, candidates.first()?))))
}

const MADE: &str = "self-signed";
/// The sources whose certificates an operator has put there.
const FROM_PEOPLE: [&str; 3] = ["files", "folder", "imported"];
