//! Owns self-signed certificates, and the files that keep the certificates the server had made.
//!
//! Never here: when one is made, or for whom.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::PrivateKeyDer;

use crate::name::HostName;
use crate::system::durable;

use super::CertError;
use super::certificate::Certificate;

/// A certificate as it was made, and the PEM text of key and chain that brings it back.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) certificate: Certificate,
    pub(super) pem: Vec<u8>,
}

/// Makes a self-signed certificate for `names`, the first of them its common name.
///
/// The key is ECDSA P-256; the certificate is for servers only, and valid for as long as browsers allow. Making one
/// takes about as much CPU as one handshake.
pub(super) fn self_signed(names: &[HostName], now: SystemTime) -> Result<Made, CertError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertError::SelfSigned)?;
    let chain =
        params(names, now).and_then(|params| params.self_signed(&key)).map_err(CertError::SelfSigned)?;

    let pem = format!("{}{}", key.serialize_pem(), chain.pem()).into_bytes();
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|_| CertError::SelfSigned(rcgen::Error::CouldNotParseKeyPair))?;
    let certificate = Certificate::from_der(vec![chain.into()], key).map_err(CertError::Made)?;
    Ok(Made { certificate, pem })
}

fn params(names: &[HostName], now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    params.distinguished_name = subject(names);
    params.serial_number = Some(serial());
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now - CLOCK_SKEW + LIFETIME).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn alternative_name(name: &HostName) -> Result<SanType, rcgen::Error> {
    match name.address() {
        Some(address) => Ok(SanType::IpAddress(address)),
        None => Ok(SanType::DnsName(name.as_str().try_into()?)),
    }
}

/// The certificate's subject, a different one for each: browsers grow slow on many self-signed certificates with one
/// subject.
fn subject(names: &[HostName]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "rip-server self-signed");
    if let Some(name) = names.iter().map(HostName::as_str).find(|name| name.len() <= COMMON_NAME) {
        subject.push(DnType::CommonName, name);
    }
    subject
}

/// A serial number: 127 random bits, positive and never zero (RFC 5280 §4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Keeps a certificate that was made: key and chain are in one file, so that no crash can part them.
pub(super) fn store(path: &Path, pem: &[u8]) -> Result<(), CertError> {
    durable::write_atomic(path, pem, KEY_MODE)
        .map_err(|source| CertError::Write { path: path.into(), source })
}

/// Reads a certificate that [`store`] kept, if it names all of `names` and is not due yet.
///
/// A certificate that is no longer of use is no error: another one is made in its place.
pub(super) fn cached(path: &Path, names: &[HostName], now: SystemTime) -> Option<Certificate> {
    let pem = match fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read a kept certificate; making another");
            return None;
        }
    };
    let certificate = match Certificate::from_pem(&pem, &pem) {
        Ok(certificate) => certificate,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a kept certificate is damaged; making another");
            return None;
        }
    };
    let fits = certificate.covers(names) && certificate.is_good(now) && now < certificate.renew_at();
    fits.then_some(certificate)
}

/// Makes the folder for kept certificates, or makes sure that it is nobody else's.
pub(super) fn folder(path: &Path) -> Result<(), CertError> {
    durable::private_dir(path, FOLDER_MODE).map_err(|source| CertError::Write { path: path.into(), source })
}

/// How long certificates are valid: browsers refuse those of more than 398 days (limit of the CA/Browser Forum).
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 3_600);
/// How long before now certificates begin, so that a client whose clock is a little behind accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3_600);
/// The longest common name (RFC 5280, ub-common-name).
const COMMON_NAME: usize = 64;
const KEY_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::super::testing::{DAY, hosts, now};
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_one_that_browsers_can_be_told_to_accept() {
        let names = hosts(&["localhost", "127.0.0.1", "::1", "*.a.example"]);
        let made = self_signed(&names, now()).unwrap();

        assert!(made.certificate.covers(&names));
        assert_eq!(made.certificate.names.len(), 4);
        assert!(made.certificate.is_good(now()) && made.certificate.is_good(now() + 395 * DAY));
        assert!(!made.certificate.is_good(now() + 396 * DAY));
        let (_, parsed) = X509Certificate::from_der(&made.certificate.key.cert[0]).unwrap();
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(!parsed.is_ca());
        assert_eq!(parsed.subject().to_string(), "O=rip-server self-signed, CN=localhost");
        assert_eq!(parsed.raw_serial().len(), 16);
        assert!(!parsed.tbs_certificate.serial.bits().is_multiple_of(128));
    }

    #[test]
    fn two_certificates_never_share_key_or_serial() {
        let names = hosts(&["localhost"]);
        let [one, two] = [(); 2].map(|()| self_signed(&names, now()).unwrap().certificate);
        let der = |certificate: &Certificate| certificate.key.cert[0].to_vec();
        let (one, two) = (der(&one), der(&two));
        let [(_, one), (_, two)] = [&one, &two].map(|der| X509Certificate::from_der(der).unwrap());
        assert_ne!(one.raw_serial(), two.raw_serial());
        assert_ne!(one.public_key().raw, two.public_key().raw);
    }

    #[test]
    fn a_name_too_long_for_a_common_name_is_an_alternative_name_all_the_same() {
        let long = format!("{}.example", ["abcdefghij"; 20].join("."));
        let names = hosts(&[&long]);
        assert!(self_signed(&names, now()).unwrap().certificate.covers(&names));
    }

    #[test]
    fn a_kept_certificate_comes_back_until_it_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let (folder_path, names) = (dir.path().join("certs"), hosts(&["localhost", "127.0.0.1"]));
        folder(&folder_path).unwrap();
        let path = folder_path.join("default.pem");
        let made = self_signed(&names, now()).unwrap();
        store(&path, &made.pem).unwrap();

        let kept = cached(&path, &names, now()).unwrap();
        assert_eq!(kept.key.cert, made.certificate.key.cert);
        assert!(cached(&path, &names[..1], now() + 263 * DAY).is_some());
        for (why, names, now) in [
            ("two thirds are over", &names[..], now() + 264 * DAY),
            ("expired", &names, now() + 400 * DAY),
            ("made by a clock ahead of ours", &names, now() - 2 * DAY),
            ("another name", &hosts(&["localhost", "a.example"]), now()),
        ] {
            assert!(cached(&path, names, now).is_none(), "{why}");
        }
    }

    #[test]
    fn keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certs");
        folder(&path).unwrap();
        store(&path.join("a.pem"), b"key").unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("a.pem"))), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_or_missing_file_is_no_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        assert!(cached(&path, &[], now()).is_none());
        store(&path, b"half a key").unwrap();
        assert!(cached(&path, &[], now()).is_none());
    }
}
