//! Owns the private key of the machine's ACME account: the key is made once, and signs what the agent sends to
//! authorities.
//!
//! Never here: registering it (`accounts`).

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use instant_acme::Key;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::system::durable;

/// An account's key, P-256.
pub(super) struct AccountKey {
    pkcs8: PrivatePkcs8KeyDer<'static>,
    /// The thumbprint of the public key (RFC 7638), in base64url.
    pub(super) thumbprint: String,
}

impl AccountKey {
    /// Reads the key from the PEM file `path`, or makes the key and the file when there is none. Blocks on the disk.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is no key of P-256.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(pem) => {
                let pkcs8 =
                    PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| no_key(error.to_string()))?;
                Self::of(pkcs8)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (_, pkcs8) = Key::generate_pkcs8().map_err(io::Error::other)?;
                durable::write_atomic(path, pem(pkcs8.secret_pkcs8_der()).as_bytes(), 0o600)?;
                Self::of(pkcs8)
            }
            Err(error) => Err(error),
        }
    }

    fn of(pkcs8: PrivatePkcs8KeyDer<'static>) -> io::Result<Self> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.secret_pkcs8_der())
            .map_err(|error| no_key(error.to_string()))?;
        let thumbprint = thumbprint(key.public_key().as_ref());
        Ok(Self { pkcs8, thumbprint })
    }

    /// The key as the protocol's library takes it.
    ///
    /// # Errors
    /// When the key is none of P-256.
    pub(super) fn to_key(&self) -> Result<(Key, PrivatePkcs8KeyDer<'static>), instant_acme::Error> {
        Ok((Key::from_pkcs8_der(self.pkcs8.clone_key())?, self.pkcs8.clone_key()))
    }
}

fn no_key(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no private key of P-256 in PKCS #8: {why}"))
}

/// The thumbprint of an uncompressed point: one byte, then the two coordinates of 32 bytes each.
fn thumbprint(point: &[u8]) -> String {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    let [x, y] = [x, y].map(|coordinate| BASE64_URL_SAFE_NO_PAD.encode(coordinate));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes()))
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.pem");
        let made = AccountKey::open(&path).unwrap();
        let read = AccountKey::open(&path).unwrap();
        assert_eq!(made.thumbprint, read.thumbprint);
        assert_eq!(made.thumbprint.len(), 43);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(AccountKey::open(&path).is_err(), "a key that cannot be read is never replaced");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nonsense");
    }

    #[test]
    fn the_thumbprint_is_the_one_that_the_library_has() {
        let folder = tempfile::tempdir().unwrap();
        let key = AccountKey::open(&folder.path().join("account.pem")).unwrap();
        let credentials = format!(
            r#"{{"id":"x","key_pkcs8":"{}","urls":{{"newNonce":"n","newAccount":"a","newOrder":"o"}}}}"#,
            BASE64_URL_SAFE_NO_PAD.encode(key.pkcs8.secret_pkcs8_der())
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let builder = instant_acme::Account::builder_with_http(Box::new(
            super::super::https::Https::new(None).unwrap(),
        ));
        let account =
            runtime.block_on(builder.from_credentials(serde_json::from_str(&credentials).unwrap())).unwrap();
        assert_eq!(account.key_thumbprint(), key.thumbprint);
    }
}
