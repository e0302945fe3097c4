//! Owns the certificate that a handshake of tls-alpn-01 shows (RFC 8737 §3).
//!
//! Never here: which handshakes are expected.

use std::sync::Arc;

use rcgen::{Certificate, CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{ALPN, Handshake};
use crate::name::HostName;

impl Handshake {
    /// The settings of a handshake with a certificate for this name alone, which has the digest in it.
    ///
    /// # Errors
    /// When no certificate can be made for the name.
    pub(super) fn new(host: &HostName, digest: &[u8]) -> Result<Self, String> {
        let (certificate, key) = certificate(host, digest).map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
        // The key is not checked against the certificate, because the check does not know the critical extension.
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { digest: digest.to_owned(), config: Arc::new(config) })
    }
}

/// A certificate with the digest in its critical extension.
fn certificate(host: &HostName, digest: &[u8]) -> Result<(Certificate, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let bare = host.address().map_or_else(|| host.to_string(), |address| address.to_string());
    let mut params = CertificateParams::new(vec![bare])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    Ok((params.self_signed(&key)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_of_a_handshake_has_the_name_and_the_digest() {
        let (certificate, _) = certificate(&"a.example".parse().unwrap(), &[7; 32]).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        let extension =
            parsed.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(Handshake::new(&"a.example".parse().unwrap(), &[7; 32]).is_ok());
    }
}
