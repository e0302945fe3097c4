//! Owns client certificates: whose certificates a handshake asks for, and whether one is believed.
//!
//! Never here: what workers are told (the data path writes that), or which host asks for which (`spec`).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError as Flaw, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::sync::Notify;
use x509_parser::prelude::{CertificateRevocationList, FromDer};
use x509_parser::time::ASN1Time;

use crate::api::CertificateStatus;
use crate::spec::ClientCerts;

use super::certificate::{parse_all, read_chain};
use super::file_marks::{FileMark, RestWatch};
use super::issuer::blocking;
use super::{CertError, CertResolver, in_full, tls};

/// The authorities of client certificates, as hosts ask for them.
pub(crate) struct ClientAuthorities {
    resolver: Arc<CertResolver>,
    /// The authorities by the settings that name them; the lock is held for a look-up, at each handshake for a host
    /// that asks for certificates.
    known: Mutex<HashMap<ClientCerts, Arc<ClientAuthority>>>,
    has_first: Notify,
}

/// A set of authorities with its lists of revoked certificates.
pub(crate) struct ClientAuthority {
    asked: ClientCerts,
    current: ArcSwap<Verification>,
    /// The state of the files; the lock is held by the task that looks at them, and to show the problem.
    watch: Mutex<Watched>,
}

struct Watched {
    files: RestWatch<[Option<FileMark>; 2]>,
    /// Why the files as they are now cannot be used.
    problem: Option<String>,
}

/// The content of the files of authorities and lists.
struct Verification {
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of the authorities ends, or the first list is out of date.
    ends: SystemTime,
}

impl ClientAuthorities {
    /// Starts without authorities. `resolver` has the server's own certificates.
    pub(crate) fn new(resolver: Arc<CertResolver>) -> Self {
        Self { resolver, known: Mutex::default(), has_first: Notify::new() }
    }

    /// Reads the files that a host's settings name, so that handshakes can ask for client certificates. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// The fault of a file, when no good one was read before.
    pub(crate) fn load(&self, asked: &ClientCerts) -> Result<(), CertError> {
        if !asked.are_asked_for() || self.known().contains_key(asked) {
            return Ok(());
        }
        // The marks are taken before the files are read, so that a change in between is seen.
        let files = RestWatch::new(marks(asked));
        let current = ArcSwap::from_pointee(Verification::read(asked, &self.resolver)?);
        let watch = Mutex::new(Watched { files, problem: None });
        let authority = Arc::new(ClientAuthority { asked: asked.clone(), current, watch });
        self.known().insert(asked.clone(), authority);
        self.has_first.notify_one();
        Ok(())
    }

    /// The authorities that the settings name, if they were loaded.
    pub(super) fn of(&self, asked: &ClientCerts) -> Option<Arc<ClientAuthority>> {
        self.known().get(asked).map(Arc::clone)
    }

    /// Looks at the files every few seconds, and reads those that have changed. Never returns.
    ///
    /// # Cancel safety
    /// The future may be dropped at any await: what was read before stays in use.
    pub(crate) async fn look_after(self: Arc<Self>) {
        loop {
            if self.known().is_empty() {
                self.has_first.notified().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let own = Arc::clone(&self);
            blocking(move || own.all().iter().for_each(|authority| authority.look(&own.resolver))).await.ok();
        }
    }

    /// The status of the authorities whose client certificates are asked for.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        let mut shown: Vec<_> = self.all().iter().map(|authority| authority.status()).collect();
        shown.sort_by(|one, other| one.names.cmp(&other.names));
        shown
    }

    fn all(&self) -> Vec<Arc<ClientAuthority>> {
        self.known().values().map(Arc::clone).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ClientCerts, Arc<ClientAuthority>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientAuthority {
    /// The settings of handshakes that ask for these certificates.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The settings that say which certificates are asked for.
    pub(crate) fn asked(&self) -> &ClientCerts {
        &self.asked
    }

    /// Whether a client's certificates are believed; the client's own comes first.
    ///
    /// # Errors
    /// Why the certificates are not believed, in the words of OpenSSL.
    pub(crate) fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let Some((own, others)) = chain.split_first() else { return Err("no certificate".into()) };
        // A required certificate was judged in the handshake, and no session is resumed.
        if self.asked.are_required() {
            return Ok(());
        }
        let verified = self.current.load().verifier.verify_client_cert(own, others, UnixTime::now());
        verified.map(drop).map_err(|error| reason(&error))
    }

    fn look(&self, resolver: &Arc<CertResolver>) {
        let marks = marks(&self.asked);
        if !self.watched().files.look(marks) {
            return;
        }
        let ca = self.asked.ca.as_deref().unwrap_or(Path::new("")).display();
        let problem = match Verification::read(&self.asked, resolver) {
            Ok(read) => {
                self.current.store(Arc::new(read));
                tracing::info!(%ca, "the authorities of client certificates were read anew");
                None
            }
            Err(error) => {
                let error = in_full(&error);
                tracing::warn!(%ca, error, "the new authorities of client certificates cannot be used; those in use stay");
                Some(error)
            }
        };
        self.watched().problem = problem;
    }

    fn status(&self) -> CertificateStatus {
        let (ends, now) = (self.current.load().ends, SystemTime::now());
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        CertificateStatus {
            names: self
                .asked
                .ca
                .iter()
                .chain(&self.asked.crl)
                .map(|path| path.display().to_string())
                .collect(),
            source: "client authorities".into(),
            expires_in: ends.duration_since(now).map_or_else(|over| -seconds(over.duration()), seconds),
            problem: self.watched().problem.clone(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verification {
    fn read(asked: &ClientCerts, resolver: &Arc<CertResolver>) -> Result<Self, CertError> {
        let ca = asked.ca.as_deref().unwrap_or(Path::new(""));
        let of_no_use = |why: String| CertError::Authority { path: ca.to_owned(), why };
        let chain = read_chain(&read(ca)?);
        let chain = chain.map_err(|source| CertError::Invalid { path: ca.to_owned(), source })?;
        let parsed =
            parse_all(&chain).map_err(|source| CertError::Invalid { path: ca.to_owned(), source })?;
        let mut ends: Vec<ASN1Time> = parsed.iter().map(|parsed| parsed.validity().not_after).collect();
        let mut roots = RootCertStore::empty();
        for certificate in &chain {
            roots.add(certificate.clone()).map_err(|error| of_no_use(error.to_string()))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
        if let Some(crl) = &asked.crl {
            let lists = RevocationLists::read(crl)?;
            ends.extend(lists.ends);
            // An authority without a list of its own revokes nothing.
            builder = builder
                .with_crls(lists.all)
                .allow_unknown_revocation_status()
                .enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| match (error, &asked.crl) {
            (VerifierBuilderError::InvalidCrl(error), Some(crl)) => {
                CertError::Authority { path: crl.clone(), why: format!("{error:?}: {LIST_NEEDED}") }
            }
            (error, _) => of_no_use(error.to_string()),
        })?;
        let at_handshake: Arc<dyn ClientCertVerifier> = match asked.are_required() {
            true => Arc::clone(&verifier),
            false => Arc::new(AnyCertificate(Arc::clone(&verifier))),
        };
        let config = tls::config_with(Arc::clone(resolver), at_handshake);
        let mut config = config.map_err(|error| of_no_use(error.to_string()))?;
        // A resumed session would skip the look at lists and dates.
        config.send_tls13_tickets = 0;
        let ends = ends.into_iter().map(|end| end.timestamp()).min().unwrap_or_default();
        let ends = UNIX_EPOCH + Duration::from_secs(ends.try_into().unwrap_or(0));
        Ok(Self { config: Arc::new(config), verifier, ends })
    }
}

/// Lists of revoked certificates.
struct RevocationLists {
    all: Vec<CertificateRevocationListDer<'static>>,
    /// When each list that has an end is out of date.
    ends: Vec<ASN1Time>,
}

impl RevocationLists {
    fn read(path: &Path) -> Result<Self, CertError> {
        let of_no_use = |why: String| CertError::Authority { path: path.to_owned(), why };
        let lists = CertificateRevocationListDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
        let all = lists.map_err(|error| of_no_use(format!("it is damaged PEM text: {error}")))?;
        if all.is_empty() {
            return Err(of_no_use(format!("there is no list in it: {LIST_NEEDED}")));
        }
        let parsed = all.iter().filter_map(|list| CertificateRevocationList::from_der(list).ok());
        let ends = parsed.filter_map(|(_, list)| list.next_update()).collect();
        Ok(Self { all, ends })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source: io::Error| CertError::unreadable(path, source))
}

fn marks(asked: &ClientCerts) -> [Option<FileMark>; 2] {
    [&asked.ca, &asked.crl].map(|path| path.as_deref().and_then(FileMark::of))
}

/// Why a certificate is not believed, as OpenSSL says it, and nginx in `$ssl_client_verify`.
fn reason(error: &Error) -> String {
    let Error::InvalidCertificate(flaw) = error else { return error.to_string() };
    match flaw {
        Flaw::Expired | Flaw::ExpiredContext { .. } => "certificate has expired",
        Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => "certificate is not yet valid",
        Flaw::Revoked => "certificate revoked",
        Flaw::UnknownIssuer => "unable to get local issuer certificate",
        Flaw::BadSignature => "certificate signature failure",
        Flaw::InvalidPurpose | Flaw::InvalidPurposeContext { .. } => "unsuitable certificate purpose",
        Flaw::ExpiredRevocationList | Flaw::ExpiredRevocationListContext { .. } => "CRL has expired",
        Flaw::UnknownRevocationStatus => "unable to get certificate CRL",
        other => return other.to_string(),
    }
    .into()
}

/// Lets every certificate through whose key the client has; the worker is told whether it is believed.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const LIST_NEEDED: &str = "a list of version 2 is needed, in PEM text with `-----BEGIN X509 CRL-----` (with openssl, \
                           `crl_extensions` and `crlnumber` in its configuration)";
const LOOK_EVERY: Duration = Duration::from_secs(2);
