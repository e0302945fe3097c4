//! Owns the name and the password that a request brings (Basic, RFC 7617).
//!
//! Never here: whether the two are right.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{self, HeaderMap};

/// A name and a password.
#[derive(PartialEq, Eq)]
pub(in crate::acceptor) struct Credentials {
    pub(in crate::acceptor) name: String,
    pub(in crate::acceptor) password: Vec<u8>,
}

impl Credentials {
    /// The name and the password in a request's head; `None`: the head has no such field, another scheme, or more than
    /// one field.
    pub(in crate::acceptor) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let value = fields.next()?;
        if fields.next().is_some() || value.len() > LONGEST {
            return None;
        }
        let (scheme, encoded) = value.as_bytes().split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let mut pair = BASE64.decode(encoded.trim_ascii()).ok()?;
        let colon = memchr::memchr(b':', &pair)?;
        let password = pair.split_off(colon + 1);
        pair.pop();
        let is_plain = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_control);
        let name = String::from_utf8(pair).ok()?;
        (is_plain(name.as_bytes()) && is_plain(&password)).then_some(Self { name, password })
    }
}

/// The scheme's name, with the space behind it.
const SCHEME: &[u8] = b"Basic ";
/// The longest field that is read, in bytes: far longer than a name and a password that people or programs have.
const LONGEST: usize = 2048;
/// Base64 with or without padding: some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::seeded;

    fn read(values: &[&[u8]]) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        Credentials::of(&headers).map(|read| (read.name, read.password))
    }

    #[test]
    fn a_name_and_a_password_are_read_however_they_are_spelt() {
        for (value, name, password) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"),
            ("BASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("Basic dGVzdDoxMjPCow==", "test", "123\u{a3}"),
            ("Basic YTpiOmM=", "a", "b:c"),
            ("Basic Og==", "", ""),
        ] {
            assert_eq!(read(&[value.as_bytes()]), Some((name.into(), password.into())), "{value}");
        }
    }

    #[test]
    fn nothing_else_is_a_name_and_a_password() {
        let long = format!("Basic {}", "QUFB".repeat(600));
        for values in [
            &[][..],
            &["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
            &["Basic"],
            &["Basic "],
            &["BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
            &["Basic QWxhZGRpbg=="],
            &["Basic ====", "x"],
            &["Basic YTpi", "Basic YTpi"],
            &["Basic YQA6Yg=="],
            &["Basic YTpiCg=="],
            &["Basic /zpi"],
            &["\u{fc}"],
            &[&long],
        ] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(read(&values), None, "{values:?}");
        }
    }

    #[test]
    fn whatever_is_read_was_encoded_so() {
        let seeds =
            [&b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="[..], b"basic  YTpiOmM=", b"Basic dGVzdDoxMjPCow=="];
        seeded::feed(&seeds, 20_000, |input| {
            let Ok(value) = HeaderValue::from_bytes(input) else { return };
            let Some((name, password)) = read(&[value.as_bytes()]) else { return };
            let again = BASE64.encode([name.as_bytes(), b":", &password].concat());
            let sent =
                String::from_utf8_lossy(&input[SCHEME.len()..]).trim().trim_end_matches('=').to_owned();
            assert_eq!(again.trim_end_matches('='), sent);
            assert!(!name.contains(':'));
        });
    }
}
