//! The parts that the tests of this module share: certificates of any dates, and a client that accepts every
//! certificate.
//!
//! Never here: anything the server uses.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConnection, SignatureScheme};

use crate::directory::{App, Directory, Route};
use crate::name::HostName;
use crate::time::WallClock;

use super::certificate::Certificate;
use super::{CertResolver, TicketKeys, tls};

pub(in crate::certs) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A day to test on, in whole seconds, as certificates hold no less.
pub(in crate::certs) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(in crate::certs) fn hosts(names: &[&str]) -> Vec<HostName> {
    names.iter().map(|name| HostName::parse(name).unwrap()).collect()
}

/// Writes an executable shell script; the script is written under another name first, because a file that is open for
/// writing cannot be run.
pub(in crate::certs) fn script(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    fs::write(&aside, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&aside, path).unwrap();
}

/// Registers a host for an app that is of no interest here.
pub(in crate::certs) fn register(directory: &Directory, host: &str) {
    directory.insert(Route::to(host, &App::of_no_interest("app")));
}

pub(in crate::certs) fn resolver() -> Arc<CertResolver> {
    Arc::new(CertResolver::new(WallClock::fixed(now())))
}

pub(in crate::certs) struct Pem {
    pub(in crate::certs) cert: String,
    pub(in crate::certs) key: String,
}

impl Pem {
    pub(in crate::certs) fn new(names: &[&str], not_before: SystemTime, not_after: SystemTime) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        let key = KeyPair::generate().unwrap();
        Self { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(in crate::certs) fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.cert.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// Both ends of one TLS connection, in memory.
pub(in crate::certs) struct Link {
    client: ClientConnection,
    server: ServerConnection,
}

impl Link {
    /// Shakes hands with SNI `name`, or without SNI when that is an address.
    pub(in crate::certs) fn open(resolver: &Arc<CertResolver>, name: &str) -> Result<Self, rustls::Error> {
        let server = ServerConnection::new(
            tls::server_config(Arc::clone(resolver), TicketKeys::new(None, now()).unwrap()).unwrap(),
        )?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let mut link = Self { client: ClientConnection::new(Arc::new(config), name)?, server };
        link.shuttle()?;
        Ok(link)
    }

    /// The server's own certificate, as the client saw it.
    pub(in crate::certs) fn shown(&self) -> CertificateDer<'static> {
        self.client.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(in crate::certs) fn alpn(&self) -> Option<&[u8]> {
        self.client.alpn_protocol()
    }

    /// Whether a word of the client still reaches the server.
    pub(in crate::certs) fn works(&mut self) -> bool {
        self.client.writer().write_all(b"ping").unwrap();
        self.shuttle().unwrap();
        let mut read = [0; 4];
        self.server.reader().read_exact(&mut read).unwrap();
        &read == b"ping"
    }

    fn shuttle(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                self.server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets()?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = tls::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
