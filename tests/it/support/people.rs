//! An authority for client certificates, and the people whom it has certified, in a folder.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::tls::{self, Identity};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// `ca.pem` and `crl.pem`, watched by a server.
pub(crate) struct People {
    folder: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    /// Signed by the root, not in `ca.pem`.
    between: CertifiedIssuer<'static, KeyPair>,
}

/// Somebody with a certificate.
pub(crate) struct Person {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    serial: u64,
}

impl People {
    pub(crate) fn new() -> Self {
        let (root, between) = authorities();
        let own = Self { folder: tempfile::tempdir().unwrap(), root, between };
        own.write("ca.pem", &own.root.pem());
        own.revoke(&[]);
        own
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Puts a file in the place of another in one step.
    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path("aside"), text).unwrap();
        fs::rename(self.path("aside"), self.path(file)).unwrap();
    }

    /// The values of `client` with these files.
    pub(crate) fn settings(&self, mode: &str) -> String {
        let [ca, crl] = ["ca.pem", "crl.pem"].map(|file| self.path(file).display().to_string());
        format!("{{ ca = \"{ca}\", crl = \"{crl}\", mode = \"{mode}\" }}")
    }

    /// Somebody who is believed: certified by the authority below the one that is known.
    pub(crate) fn alice(&self) -> Person {
        let mut alice = person(1, &self.between, SystemTime::now() + 20 * DAY);
        alice.chain.push(self.between.der().clone());
        alice
    }

    /// Somebody else who is believed.
    pub(crate) fn bob(&self) -> Person {
        person(2, &self.root, SystemTime::now() + 20 * DAY)
    }

    /// Somebody whose certificate has expired.
    pub(crate) fn late(&self) -> Person {
        person(3, &self.root, SystemTime::now() - DAY)
    }

    /// Writes a list of those who are believed no more.
    pub(crate) fn revoke(&self, revoked: &[&Person]) {
        let now = SystemTime::now();
        let revoked = revoked.iter().map(|person| RevokedCertParams {
            serial_number: SerialNumber::from(person.serial),
            revocation_time: (now - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &list.signed_by(&self.root).unwrap().pem().unwrap());
    }

    /// Puts another authority in the place of this one.
    pub(crate) fn replace(&mut self) {
        (self.root, self.between) = authorities();
        self.write("ca.pem", &self.root.pem());
        self.revoke(&[]);
    }
}

impl Person {
    /// The certificate and the key of this person.
    pub(crate) fn identity(&self) -> Identity {
        (self.chain.clone(), PrivateKeyDer::try_from(self.key.clone()).unwrap())
    }

    /// A client that shows it.
    pub(crate) fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        Arc::new(tls::client(Some(self.identity()), alpn))
    }
}

fn authorities() -> (CertifiedIssuer<'static, KeyPair>, CertifiedIssuer<'static, KeyPair>) {
    // Of two with one name and other keys it is not the name that tells.
    let number = fastrand::u64(..);
    let [root, between] = ["Root", "Between"].map(|name| {
        let mut params = params(&format!("{name} {number}"), SystemTime::now() + 100 * DAY);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    });
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let between = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &root).unwrap();
    (root, between)
}

fn person(serial: u64, by: &Issuer<'_, KeyPair>, end: SystemTime) -> Person {
    let mut params = params("Alice, Al", end);
    params.distinguished_name.push(DnType::OrganizationName, "Zo\u{eb}");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    Person { chain: vec![certificate.der().clone()], key: key.serialize_der(), serial }
}

fn params(name: &str, end: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = ((SystemTime::now() - 10 * DAY).into(), end.into());
    params
}
