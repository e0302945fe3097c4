//! Owns what a certificate with its key is, read from PEM: the names in it and how long it lives.
//!
//! Never here: where the PEM comes from, or whether clients trust it.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use crate::name::HostName;

use super::reasons::{self, Instead, KeyFlaw};
use super::tls;

/// A certificate chain with its private key, checked to belong together. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// The chain and the key with which rustls signs.
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts that the certificate is good for, sorted.
    pub(super) names: Arc<[HostName]>,
    /// The time from which the certificate is valid.
    pub(super) not_before: SystemTime,
    /// The time until which the certificate is valid.
    pub(super) not_after: SystemTime,
    /// The place, counted from 1, of the first certificate of the chain that did not sign the one before it; `None`:
    /// all did.
    pub(super) disorder: Option<usize>,
}

/// Why PEM text is not a certificate with its key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// No `CERTIFICATE` section.
    #[error("there is no certificate in it: {0}; expected PEM text with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate(Instead),
    /// A damaged section in the chain.
    #[error("the certificate is damaged PEM text: {0}")]
    ChainPem(pem::Error),
    /// A section of the chain that is not an X.509 certificate.
    #[error("certificate {place} in it is not X.509")]
    NotX509 {
        /// The certificate's place in the chain, counted from 1.
        place: usize,
        /// The parser's error.
        source: X509Error,
    },
    /// An older kind of certificate.
    #[error(
        "it is a certificate of X.509 version {version}, which has no names that clients look at: have it issued as version 3, with subjectAltName (`openssl req -x509 -addext subjectAltName=DNS:NAME` for one of your own)"
    )]
    Version {
        /// The version, counted from 1.
        version: u32,
    },
    /// An extension that clients must know and do not.
    #[error(
        "its extension {0} is marked critical and is none that TLS knows, so that clients refuse it: have it issued without, or not critical"
    )]
    CriticalExtension(String),
    /// Any other reason for which TLS cannot use the certificate.
    #[error("TLS cannot use it: {0}")]
    Unusable(rustls::Error),
    /// No private key.
    #[error("there is no private key in it: {0}; expected PEM text with `-----BEGIN PRIVATE KEY-----`")]
    NoKey(Instead),
    /// A key that needs a pass phrase.
    #[error(
        "the private key is encrypted: remove its pass phrase, for instance with `openssl pkey -in FILE -out PLAIN`"
    )]
    EncryptedKey,
    /// A damaged key.
    #[error("the private key is damaged PEM text: {0}")]
    KeyPem(pem::Error),
    /// The key belongs to none of the certificates.
    #[error(
        "the private key does not belong to the first certificate of the chain, nor to another in it: both files have to come from one request"
    )]
    Mismatch,
    /// The key belongs to another certificate of the chain than the first.
    #[error(
        "the certificates are in the wrong order: the private key belongs to certificate {place}, which has to be the first; after each comes the one that signed it"
    )]
    Order {
        /// The place of the key's certificate, counted from 1.
        place: usize,
    },
    /// A kind of key that TLS cannot use here.
    #[error("the private key cannot be used: {0}")]
    UnusableKey(KeyFlaw),
}

impl CertificateError {
    /// Whether the key is at fault, and not the certificate.
    pub(super) fn is_about_key(&self) -> bool {
        match self {
            Self::NoCertificate(_)
            | Self::ChainPem(_)
            | Self::NotX509 { .. }
            | Self::Version { .. }
            | Self::CriticalExtension(_)
            | Self::Unusable(_)
            | Self::Order { .. } => false,
            Self::NoKey(_) | Self::EncryptedKey | Self::KeyPem(_) | Self::Mismatch | Self::UnusableKey(_) => {
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

    /// Makes a pair as [`from_pem`](Self::from_pem) does, from parts already decoded.
    pub(super) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        // A flaw of the chain is reported before a flaw of the key.
        parse_all(&chain)?;
        Self::of(chain, &ServerKey::load(key)?)
    }

    /// Puts a chain and the key of its first certificate together.
    pub(super) fn of(chain: Vec<CertificateDer<'static>>, key: &ServerKey) -> Result<Self, CertificateError> {
        let parsed = parse_all(&chain)?;
        let own = parsed.first().ok_or(CertificateError::NoCertificate(Instead::Nothing))?;
        let belongs = |to: &X509Certificate<'_>| {
            key.public.as_deref().is_none_or(|public| public == to.public_key().raw)
        };
        // A key whose curve is written out differs from the certificate's byte by byte, and may belong to it all the
        // same.
        if let (false, KeyFlaw::Curve(_)) = (belongs(own), &key.flaw) {
            return Err(CertificateError::UnusableKey(key.flaw.clone()));
        }
        if !belongs(own) {
            let place = parsed.iter().position(belongs);
            return Err(
                place.map_or(CertificateError::Mismatch, |at| CertificateError::Order { place: at + 1 })
            );
        }
        check(own)?;
        let names = names(own);
        let not_before = date(own.validity.not_before);
        let not_after = date(own.validity.not_after);
        let disorder = disorder(&parsed);
        drop(parsed);
        let key = CertifiedKey::new(chain, Arc::clone(&key.signing));
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::Mismatch),
            Err(other) => return Err(CertificateError::Unusable(other)),
        }
        Ok(Self { key: Arc::new(key), names, not_before, not_after, disorder })
    }

    /// Whether the two are the same certificate, whatever follows in their chains.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert.first() == other.key.cert.first()
    }

    /// A number that is as good as surely no other certificate's.
    pub(super) fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.key.cert.first().map(AsRef::as_ref).unwrap_or_default().hash(&mut hasher);
        hasher.finish()
    }

    /// Whether `now` is within the certificate's dates.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Whether the certificate may answer for all of these hosts.
    pub(super) fn covers<'a>(&self, wanted: impl IntoIterator<Item = &'a HostName>) -> bool {
        wanted.into_iter().all(|name| self.names.binary_search(name).is_ok())
    }

    /// When two thirds of the certificate's life are over, and another one should be made.
    pub(super) fn renew_at(&self) -> SystemTime {
        self.not_after - self.lifetime() / 3
    }

    /// When the renewal is overdue by a tenth of the certificate's life; 30 days before its end at the earliest.
    pub(super) fn overdue_at(&self) -> SystemTime {
        self.not_after - (self.lifetime() / 30 * 7).min(30 * DAY)
    }

    /// When a twentieth of the certificate's life is left; 14 days before its end at the earliest.
    pub(super) fn urgent_at(&self) -> SystemTime {
        self.not_after - (self.lifetime() / 20).min(14 * DAY)
    }

    /// How often the log warns of the end once that is urgent: at least daily, more often in a short life.
    pub(super) fn reminder_interval(&self) -> Duration {
        (self.lifetime() / 60).clamp(Duration::from_secs(60), DAY)
    }

    /// Seconds until the certificate expires; negative when it has expired.
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

/// A private key that TLS can sign with.
pub(super) struct ServerKey {
    signing: Arc<dyn SigningKey>,
    /// The public part as certificates have it, `SubjectPublicKeyInfo` in DER.
    pub(super) public: Option<Vec<u8>>,
    /// The fault that the key would have if it belonged to no certificate.
    flaw: KeyFlaw,
}

impl ServerKey {
    /// Loads a key that TLS is to sign with.
    ///
    /// # Errors
    /// [`CertificateError::UnusableKey`].
    pub(super) fn load(key: PrivateKeyDer<'static>) -> Result<Self, CertificateError> {
        let flaw = KeyFlaw::of(&key);
        let signing = tls::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| CertificateError::UnusableKey(flaw.clone()))?;
        let public = signing.public_key().map(|public| public.to_vec());
        Ok(Self { signing, public, flaw })
    }
}

/// The content of a certificate, without its key.
pub(super) struct Leaf {
    /// The public key, `SubjectPublicKeyInfo` in DER.
    pub(super) public: Vec<u8>,
    /// Whether the certificate is an authority's, which signs others and serves no host.
    is_authority: bool,
    /// The hosts that the certificate is good for, sorted.
    names: Arc<[HostName]>,
}

impl Leaf {
    /// Whether the certificate was made for hosts.
    pub(super) fn serves(&self) -> bool {
        !self.is_authority && !self.names.is_empty()
    }

    /// Reads each certificate of a chain.
    ///
    /// # Errors
    /// [`CertificateError::NotX509`].
    pub(super) fn all(chain: &[CertificateDer<'static>]) -> Result<Vec<Self>, CertificateError> {
        let parsed = parse_all(chain)?;
        Ok(parsed
            .iter()
            .map(|certificate| Self {
                public: certificate.public_key().raw.to_vec(),
                is_authority: certificate.is_ca(),
                names: names(certificate),
            })
            .collect())
    }
}

pub(super) fn parse_all<'a>(
    chain: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, CertificateError> {
    chain.iter().enumerate().map(|(at, der)| parse(der, at + 1)).collect()
}

pub(super) fn read_chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(CertificateError::ChainPem)?;
    if chain.is_empty() {
        Err(CertificateError::NoCertificate(Instead::of_sought(text, Instead::Certificate)))
    } else {
        Ok(chain)
    }
}

pub(super) fn read_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // There are two ways to say it: the PKCS #8 label, and the older `Proc-Type` header, with which the parser sees no
    // PEM.
    if memchr::memmem::find(text, b"ENCRYPTED").is_some() {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoKey(Instead::of_sought(text, Instead::Key)),
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

/// Checks for flaws for which clients would refuse the certificate, and TLS here would, too.
fn check(own: &X509Certificate<'_>) -> Result<(), CertificateError> {
    if own.version() != X509Version::V3 {
        return Err(CertificateError::Version { version: own.version().0 + 1 });
    }
    reasons::unknown_critical(own).map_or(Ok(()), |id| Err(CertificateError::CriticalExtension(id)))
}

fn disorder(chain: &[X509Certificate<'_>]) -> Option<usize> {
    let pairs = chain.windows(2);
    pairs.into_iter().position(|pair| pair[0].issuer() != pair[1].subject()).map(|at| at + 2)
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

/// A date of a certificate. Dates before 1970 become 1970, because it matters only that they are over.
fn date(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
