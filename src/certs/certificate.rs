//! Owns what a certificate with its key is, read from PEM: the names in it and how long it lives.
//!
//! Never here: where the PEM comes from, or whether clients trust it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::name::HostName;

use super::tls;

/// A certificate chain with its private key, checked to belong together. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// What rustls signs with.
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts it is good for, sorted.
    pub(super) names: Arc<[HostName]>,
    /// It is good from here …
    pub(super) not_before: SystemTime,
    /// … to here.
    pub(super) not_after: SystemTime,
}

/// Why PEM text is not a certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No `CERTIFICATE` section.
    #[error("there is no certificate in it: expected PEM text with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// A damaged section in the chain.
    #[error("the certificate is damaged PEM text: {0}")]
    ChainPem(pem::Error),
    /// A section of the chain that is not an X.509 certificate.
    #[error("certificate {place} in it is not X.509")]
    NotX509 {
        /// Which one, counted from 1.
        place: usize,
        /// What the parser said.
        source: X509Error,
    },
    /// No private key.
    #[error("there is no private key in it: expected PEM text with `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// A key that needs a pass phrase.
    #[error("the private key is encrypted: remove its pass phrase, for instance with `openssl pkey`")]
    EncryptedKey,
    /// A damaged key.
    #[error("the private key is damaged PEM text: {0}")]
    KeyPem(pem::Error),
    /// The key is for another certificate, or the chain is in the wrong order.
    #[error("the private key does not belong to the first certificate of the chain")]
    Mismatch,
    /// A kind of key that TLS cannot use here.
    #[error("the private key cannot be used: expected RSA, ECDSA or Ed25519")]
    UnusableKey(#[source] rustls::Error),
}

impl CertificateError {
    /// Whether the key is at fault, not the certificate.
    pub(super) fn is_about_key(&self) -> bool {
        match self {
            Self::NoCertificate | Self::ChainPem(_) | Self::NotX509 { .. } => false,
            Self::NoKey | Self::EncryptedKey | Self::KeyPem(_) | Self::Mismatch | Self::UnusableKey(_) => {
                true
            }
        }
    }
}

impl Certificate {
    /// Reads a chain, its first certificate the server's own, and the key of that one: PKCS #8, SEC 1 or PKCS #1.
    pub(super) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Self::from_der(read_chain(chain)?, read_key(key)?)
    }

    /// As [`from_pem`](Self::from_pem), from parts already decoded.
    pub(super) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        for (index, der) in chain.iter().enumerate().skip(1) {
            parse(der, index + 1)?;
        }
        let own = chain.first().ok_or(CertificateError::NoCertificate)?;
        let own = parse(own, 1)?;
        let names = names(&own);
        let not_before = date(own.validity.not_before);
        let not_after = date(own.validity.not_after);

        let key = CertifiedKey::from_der(chain, key, &tls::provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
            other => CertificateError::UnusableKey(other),
        })?;
        Ok(Self { key: Arc::new(key), names, not_before, not_after })
    }

    /// Whether clients accept its dates.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Whether it may answer for all of these.
    pub(super) fn covers<'a>(&self, wanted: impl IntoIterator<Item = &'a HostName>) -> bool {
        wanted.into_iter().all(|name| self.names.binary_search(name).is_ok())
    }

    /// When two thirds of its life are over: the time to have another one made.
    pub(super) fn renew_at(&self) -> SystemTime {
        self.not_after - self.lifetime() / 3
    }

    /// From when on somebody should look: the last 14 days, or the last third of a life too short for that.
    pub(super) fn worry_at(&self) -> SystemTime {
        self.not_after - WORRY.min(self.lifetime() / 3)
    }

    /// Seconds until it expires; negative when it has.
    pub(super) fn expires_in(&self, now: SystemTime) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left),
            Err(past) => -seconds(past.duration()),
        }
    }

    fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(CertificateError::ChainPem)?;
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // Both ways to say it: the PKCS #8 label, and the older `Proc-Type` header that is no PEM to the parser.
    if memchr::memmem::find(text, b"ENCRYPTED").is_some() {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey,
        other => CertificateError::KeyPem(other),
    })
}

fn parse(der: &[u8], place: usize) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => {
            let source = match error {
                x509_parser::nom::Err::Error(source) | x509_parser::nom::Err::Failure(source) => source,
                x509_parser::nom::Err::Incomplete(_) => X509Error::Generic,
            };
            Err(CertificateError::NotX509 { place, source })
        }
    }
}

/// The subject alternative names; the common name says nothing to clients any more (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> Arc<[HostName]> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Arc::from([]);
    };
    let names: BTreeSet<HostName> = extension.value.general_names.iter().filter_map(host_name).collect();
    names.into_iter().collect()
}

fn host_name(name: &GeneralName<'_>) -> Option<HostName> {
    match name {
        GeneralName::DNSName(text) => HostName::parse(text).ok(),
        GeneralName::IPAddress(octets) => {
            let address = match octets.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*octets).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?),
            };
            HostName::parse(&address.to_string()).ok()
        }
        _ => None,
    }
}

/// Dates before 1970 count as 1970: all that matters is that they are over.
fn date(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

const WORRY: Duration = Duration::from_secs(14 * 24 * 3_600);
