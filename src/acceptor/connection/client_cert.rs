//! The certificate that a client has shown in its handshake, as workers are told of it.
//!
//! Never here: asking for it, or judging it (`certs`).

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::spec::ClientCerts;

/// The certificate that a client has shown in its handshake, and the settings that asked for it.
pub(in crate::acceptor) struct ShownClientCert {
    /// The settings of the handshake; a host with other settings is not served over this connection.
    pub(in crate::acceptor) asked: ClientCerts,
    /// The fields for workers.
    pub(in crate::acceptor) fields: Vec<(HeaderName, HeaderValue)>,
}

impl ShownClientCert {
    /// The certificate of one handshake. `chain`: the client's own certificate first, empty when it has shown none;
    /// `verdict`: an error says why the certificate is not believed.
    pub(in crate::acceptor) fn new(
        asked: ClientCerts,
        chain: &[CertificateDer<'_>],
        verdict: Result<(), String>,
    ) -> Self {
        let Some((own, others)) = chain.split_first() else { return Self { asked, fields: NONE.to_vec() } };
        let mut fields = vec![
            (VERIFY, verdict_value(&verdict)),
            (CERT, ascii(&escaped_pem(own))),
            (FINGERPRINT, ascii(&hex(digest(&SHA256, own).as_ref()))),
        ];
        if let Ok((_, parsed)) = X509Certificate::from_der(own) {
            fields.push((SUBJECT, ascii(&rfc_4514(parsed.subject()))));
        }
        if verdict.is_ok() {
            fields.push((CLIENT_CERT, ascii(&byte_sequence(own))));
            if !others.is_empty() {
                let others: Vec<String> = others.iter().map(byte_sequence).collect();
                fields.push((CLIENT_CERT_CHAIN, ascii(&others.join(", "))));
            }
        }
        Self { asked, fields }
    }
}

/// The fields that workers get where the client has shown no certificate.
pub(in crate::acceptor) static NONE: [(HeaderName, HeaderValue); 1] =
    [(VERIFY, HeaderValue::from_static("NONE"))];

/// The verdict as nginx has it in `$ssl_client_verify`.
fn verdict_value(verdict: &Result<(), String>) -> HeaderValue {
    match verdict {
        Ok(()) => HeaderValue::from_static("SUCCESS"),
        Err(reason) => ascii(&format!("FAILED:{reason}")),
    }
}

/// The value of a field; each character that may not stand in one becomes a question mark.
fn ascii(text: &str) -> HeaderValue {
    let plain = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    let text: String = text.chars().map(plain).collect();
    HeaderValue::try_from(text).expect("printable ASCII is a value of a field")
}

/// A certificate as a byte sequence of structured fields (RFC 9440 §2.1, RFC 8941 §3.3.5).
fn byte_sequence(certificate: &CertificateDer<'_>) -> String {
    format!(":{}:", BASE64_STANDARD.encode(certificate))
}

/// A certificate in PEM, with every byte escaped that may not stand in a part of a URI, as nginx has it in
/// `$ssl_client_escaped_cert`.
fn escaped_pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = BASE64_STANDARD.encode(certificate);
    let lines = base64.as_bytes().chunks(64).map(|line| [line, b"\n"].concat());
    let pem = [BEGIN.to_vec(), lines.flatten().collect(), END.to_vec()].concat();
    let mut escaped = String::with_capacity(pem.len() * 5 / 4);
    for byte in pem {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => write_byte(&mut escaped, "%", byte),
        }
    }
    escaped
}

/// A name as one line, its last part first, bytes beyond ASCII as `\XX` (RFC 4514 §2).
fn rfc_4514(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let parts = parts.into_iter().rev().map(|part| {
        let all = part.iter().map(|attribute| {
            let oid = attribute.attr_type();
            let word = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
            format!("{word}={}", escaped_value(attribute.as_slice()))
        });
        all.collect::<Vec<_>>().join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

fn escaped_value(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, byte) in value.iter().copied().enumerate() {
        let is_edge = at == 0 || at + 1 == value.len();
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if is_edge => text += "\\ ",
            b'#' if at == 0 => text += "\\#",
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write_byte(&mut text, "\\", byte),
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_byte(out: &mut String, mark: &str, byte: u8) {
    // Writing to a string never fails.
    let _ = write!(out, "{mark}{byte:02X}");
}

const VERIFY: HeaderName = HeaderName::from_static("x-client-cert-verify");
const CERT: HeaderName = HeaderName::from_static("x-client-cert");
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----\n";
const END: &[u8] = b"-----END CERTIFICATE-----\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_names_are_one_line_that_nobody_can_break_out_of() {
        for (value, text) in [
            ("Alice", "Alice"),
            ("a, CN=root", "a\\, CN=root"),
            ("a\r\nX-Admin: 1", "a\\0D\\0AX-Admin: 1"),
            ("Zoë", "Zo\\C3\\AB"),
            ("#a ", "\\#a\\ "),
            ("a+b\"\\", "a\\+b\\\"\\\\"),
        ] {
            assert_eq!(escaped_value(value.as_bytes()), text);
        }
    }

    #[test]
    fn a_verdict_is_always_told_whatever_its_reason_has_in_it() {
        let told = verdict_value(&Err("wrong\r\nX-Admin: 1 \u{e9}".into()));
        assert_eq!(told, "FAILED:wrong??X-Admin: 1 ?");
        assert_eq!(verdict_value(&Ok(())), "SUCCESS");
    }

    #[test]
    fn what_is_no_certificate_is_still_told_byte_by_byte() {
        let junk = CertificateDer::from(vec![0xff; 50]);
        let shown = ShownClientCert::new(ClientCerts::default(), &[junk], Err("junk".into()));
        let names: Vec<_> = shown.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-client-cert-verify", "x-client-cert", "x-client-cert-fingerprint"]);
        let pem = shown.fields[1].1.to_str().unwrap();
        assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A%2F%2F"), "{pem}");
        assert!(pem.ends_with("%3D%0A-----END%20CERTIFICATE-----%0A"), "{pem}");
    }
}
