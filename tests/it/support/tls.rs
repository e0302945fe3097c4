//! A TLS client that believes every certificate and can be asked for it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;

/// Connects with this server name, offering these protocols.
pub(crate) async fn connect(port: u16, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    over(TcpStream::connect(("127.0.0.1", port)).await?, name, alpn).await
}

/// The chain that a client shows, its own certificate first, and the key of that.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Settings of a client, which keeps its sessions in them.
pub(crate) fn client(identity: Option<Identity>, alpn: &[&str]) -> ClientConfig {
    client_of(rustls::DEFAULT_VERSIONS, identity, alpn)
}

/// The same of a client that speaks these versions alone.
pub(crate) fn client_of(
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<Identity>,
    alpn: &[&str],
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// Connects with this server name as this client.
pub(crate) async fn connect_as(
    client: &Arc<ClientConfig>,
    port: u16,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(client)).connect(name, stream).await
}

/// The same over a connection that is there.
pub(crate) async fn over(
    stream: TcpStream,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = client(None, alpn);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that is served for this name.
pub(crate) async fn certificate(port: u16, name: &str) -> CertificateDer<'static> {
    let stream = connect(port, name, &["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// The serial number of the certificate for a name.
pub(crate) async fn serial(port: u16, name: &str) -> String {
    let certificate = certificate(port, name).await;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    parsed.raw_serial_as_string()
}

/// The names in it, and who issued it.
pub(crate) async fn names(port: u16, name: &str) -> (Vec<String>, String) {
    let certificate = certificate(port, name).await;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let alternatives = parsed.subject_alternative_name().unwrap().unwrap();
    let names = alternatives.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        GeneralName::IPAddress(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    });
    (names.collect(), parsed.issuer().to_string())
}
