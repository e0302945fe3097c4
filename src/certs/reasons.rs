//! Owns the reasons why a file cannot be used as a certificate or as a key: what the file is instead, or what is wrong
//! with it. The reasons are told from the bytes, so that the message says what to do.
//!
//! Never here: deciding that a file cannot be used.

use std::borrow::Cow;
use std::fmt;

use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;

/// The content of a file in which something else was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// The file is empty.
    Nothing,
    /// A certificate in DER.
    DerCertificate,
    /// A private key in DER.
    DerKey,
    /// PKCS #12: `.pfx`, `.p12`.
    Pkcs12,
    /// PKCS #7: `.p7b`.
    Pkcs7,
    /// A request for a certificate.
    Request,
    /// A certificate in PEM.
    Certificate,
    /// A private key in PEM.
    Key,
    /// A public key in PEM.
    PublicKey,
    /// A key of OpenSSH.
    OpenSsh,
    /// A DSA key, which TLS 1.2 and 1.3 do not have here.
    Dsa,
    /// A certificate with trust settings of OpenSSL.
    Trusted,
    /// PEM of another kind: a revocation list, parameters.
    OtherPem,
    /// The thing that was looked for, but with lines that are not valid PEM.
    Broken,
    /// Anything else.
    Unknown,
}

impl Instead {
    /// Finds out what the whole file is.
    pub(super) fn of(file: &[u8]) -> Self {
        if file.iter().all(u8::is_ascii_whitespace) {
            return Self::Nothing;
        }
        let has =
            |label: &str| memchr::memmem::find(file, format!("-----BEGIN {label}-----").as_bytes()).is_some();
        let labels: [(&[&str], Self); 9] = [
            (&["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"], Self::Request),
            (&["TRUSTED CERTIFICATE"], Self::Trusted),
            (&["PKCS7", "CMS"], Self::Pkcs7),
            (&["OPENSSH PRIVATE KEY"], Self::OpenSsh),
            (&["DSA PRIVATE KEY"], Self::Dsa),
            (&["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"], Self::Key),
            (&["PUBLIC KEY", "RSA PUBLIC KEY"], Self::PublicKey),
            (&["CERTIFICATE", "X509 CERTIFICATE"], Self::Certificate),
            (&["PKCS12"], Self::Pkcs12),
        ];
        let found = labels.into_iter().find(|(names, _)| names.iter().any(|name| has(name)));
        let other = || match memchr::memmem::find(file, b"-----BEGIN ") {
            Some(_) => Self::OtherPem,
            None => Self::of_der(file),
        };
        found.map_or_else(other, |(_, instead)| instead)
    }

    /// Finds out what a file is in which `sought` was looked for in vain; when the file is just that, it is
    /// [`Instead::Broken`].
    pub(super) fn of_sought(file: &[u8], sought: Self) -> Self {
        let found = Self::of(file);
        if found == sought { Self::Broken } else { found }
    }

    fn of_der(file: &[u8]) -> Self {
        let Some((SEQUENCE, content, _)) = item(file) else { return Self::Unknown };
        match item(content) {
            Some((SEQUENCE, inner, _)) => match item(inner) {
                // A TBSCertificate begins with its version or its serial number, both followed by a sequence; a request
                // has its version and then the subject, and no dates.
                Some((CONTEXT_0, ..)) => Self::DerCertificate,
                // An EncryptedPrivateKeyInfo begins with an algorithm.
                Some((OID, ..)) => Self::DerKey,
                Some((INTEGER, [0], rest)) if rest.first() == Some(&SEQUENCE) => Self::Request,
                Some((INTEGER, ..)) => Self::DerCertificate,
                _ => Self::Unknown,
            },
            Some((OID, ..)) => Self::Pkcs7,
            Some((INTEGER, [3], rest)) if rest.first() == Some(&SEQUENCE) => Self::Pkcs12,
            Some((INTEGER, ..)) => Self::DerKey,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "the file is empty",
            Self::DerCertificate => {
                "it is a certificate in DER: `openssl x509 -inform der -in FILE -out FILE.pem` makes PEM of it"
            }
            Self::DerKey => "it is a key in DER: `openssl pkey -inform der -in FILE -out FILE.pem` makes PEM of it",
            Self::Pkcs12 => {
                "it is PKCS #12: `openssl pkcs12 -in FILE -nokeys -out cert.pem` and `openssl pkcs12 -in FILE -nocerts \
                 -noenc -out key.pem` make PEM of it"
            }
            Self::Pkcs7 => "it is PKCS #7: `openssl pkcs7 -print_certs -in FILE -out cert.pem` makes PEM of it",
            Self::Request => "it is a request for a certificate: what the authority answered to it is needed",
            Self::Certificate => "it is a certificate: are the two files swapped?",
            Self::Key => "it is a private key: are the two files swapped?",
            Self::PublicKey => "it is a public key: the private one that belongs to it is needed",
            Self::OpenSsh => "it is a key of OpenSSH, which is not for TLS",
            Self::Dsa => "it is a DSA key, which TLS has no use for: RSA, ECDSA or Ed25519 is needed",
            Self::Trusted => "it is a certificate of OpenSSL's own kind: `openssl x509 -in FILE -out FILE.pem` makes it a plain one",
            Self::OtherPem => "it is PEM of another kind: the first line of each part says which",
            Self::Broken => "its lines are indented or run together: each begins in the first column",
            Self::Unknown => "it is neither PEM nor DER",
        })
    }
}

/// Why TLS cannot use a key that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFlaw {
    /// An RSA key of so many bits.
    RsaSize(usize),
    /// An RSA key for PSS signatures alone.
    RsaPss,
    /// An elliptic curve, by its name or number.
    Curve(Cow<'static, str>),
    /// An algorithm, by its name or number.
    Algorithm(Cow<'static, str>),
    /// The key is not what its label says.
    Damaged,
}

impl KeyFlaw {
    /// Finds out why a key was refused.
    pub(super) fn of(key: &PrivateKeyDer<'_>) -> Self {
        let flaw = match key {
            PrivateKeyDer::Pkcs1(der) => of_rsa(der.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(der) => of_sec1(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs8(der) => of_pkcs8(der.secret_pkcs8_der()),
            _ => None,
        };
        flaw.unwrap_or(Self::Damaged)
    }
}

impl fmt::Display for KeyFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaSize(bits) => write!(f, "it is RSA with {bits} bits, and TLS takes 2048 to 8192")?,
            Self::RsaPss => {
                f.write_str("it is an RSA-PSS key, and RSA keys are taken of the general kind alone")?
            }
            Self::Curve(curve) => write!(f, "its curve is {curve}, and TLS takes P-256, P-384 and P-521")?,
            Self::Algorithm(name) => write!(f, "it is {name}, and TLS takes RSA, ECDSA and Ed25519")?,
            Self::Damaged => {
                return f.write_str("it is damaged: `openssl pkey -in FILE -check -noout` may say more");
            }
        }
        f.write_str(
            ". Make another, for instance with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, and have \
             a certificate issued for it",
        )
    }
}

/// Reads an RSAPrivateKey (RFC 8017 appendix A.1.2).
fn of_rsa(der: &[u8]) -> Option<KeyFlaw> {
    let (SEQUENCE, content, _) = item(der)? else { return None };
    let (INTEGER, _, rest) = item(content)? else { return None };
    let (INTEGER, modulus, _) = item(rest)? else { return None };
    let modulus = &modulus[modulus.iter().position(|byte| *byte != 0)?..];
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    (!(2048..=8192).contains(&bits)).then_some(KeyFlaw::RsaSize(bits))
}

/// Reads an ECPrivateKey (RFC 5915 §3).
fn of_sec1(der: &[u8]) -> Option<KeyFlaw> {
    let (SEQUENCE, content, _) = item(der)? else { return None };
    let (INTEGER, _, rest) = item(content)? else { return None };
    let (OCTETS, _, rest) = item(rest)? else { return None };
    let (CONTEXT_0, parameters, _) = item(rest)? else { return None };
    of_curve(parameters)
}

/// Reads a PrivateKeyInfo (RFC 5208 §5).
fn of_pkcs8(der: &[u8]) -> Option<KeyFlaw> {
    let (SEQUENCE, content, _) = item(der)? else { return None };
    let (INTEGER, _, rest) = item(content)? else { return None };
    let (SEQUENCE, algorithm, rest) = item(rest)? else { return None };
    let (OID, id, parameters) = item(algorithm)? else { return None };
    match &*dotted(id) {
        "1.2.840.113549.1.1.1" => match item(rest)? {
            (OCTETS, key, _) => of_rsa(key),
            _ => None,
        },
        "1.2.840.113549.1.1.10" => Some(KeyFlaw::RsaPss),
        "1.2.840.10045.2.1" => of_curve(parameters),
        "1.3.101.112" => None,
        "1.3.101.113" => Some(KeyFlaw::Algorithm("Ed448".into())),
        "1.3.101.110" | "1.3.101.111" => Some(KeyFlaw::Algorithm("for key agreement (X25519, X448)".into())),
        "1.2.840.10040.4.1" => Some(KeyFlaw::Algorithm("DSA".into())),
        other => Some(KeyFlaw::Algorithm(format!("of the kind {other}").into())),
    }
}

fn of_curve(parameters: &[u8]) -> Option<KeyFlaw> {
    let curve = match item(parameters)? {
        (OID, id, _) => dotted(id),
        _ => return Some(KeyFlaw::Curve("written out with its parameters in place of its name".into())),
    };
    Some(KeyFlaw::Curve(match &*curve {
        "1.2.840.10045.3.1.7" | "1.3.132.0.34" | "1.3.132.0.35" => return None,
        "1.3.132.0.10" => "secp256k1".into(),
        "1.3.132.0.33" => "P-224".into(),
        "1.2.840.10045.3.1.1" => "P-192".into(),
        "1.2.156.10197.1.301" => "SM2".into(),
        _ if curve.starts_with("1.3.36.3.3.2.8.1.1.") => "a brainpool curve".into(),
        _ => curve.into(),
    }))
}

/// Critical extensions that TLS does not know here, by number; clients refuse a certificate for them (RFC 5280 §4.2).
pub(super) fn unknown_critical(certificate: &X509Certificate<'_>) -> Option<String> {
    let known = |id: &str| {
        let last = id.strip_prefix("2.5.29.").and_then(|last| last.parse::<u8>().ok());
        matches!(last, Some(15 | 17 | 19 | 30 | 31 | 37))
    };
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    critical.map(|extension| extension.oid.to_id_string()).find(|id| !known(id))
}

/// The first element of DER: its tag, its content, and what follows it (ITU-T X.690 §8.1).
fn item(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn dotted(id: &[u8]) -> String {
    Oid::new(Cow::Borrowed(id)).to_id_string()
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_der_is_not_misread() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x85\0\0\0\0\x01", b"\x30\x82\xff\xff\x02", b"\x30\x80\x02\x01\0"]
        {
            assert_eq!(item(bytes), None, "{bytes:?}");
            assert_eq!(of_pkcs8(bytes), None);
        }
        assert_eq!(item(b"\x02\x01\x05rest"), Some((INTEGER, &b"\x05"[..], &b"rest"[..])));
        assert_eq!(Instead::of(b" \n"), Instead::Nothing);
        assert_eq!(Instead::of(b"garbage"), Instead::Unknown);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            if let Some(first) = bytes.first_mut() {
                *first = SEQUENCE;
            }
            let _ = (Instead::of(&bytes), of_pkcs8(&bytes), of_sec1(&bytes), of_rsa(&bytes));
        }
    }
}
