//! Names and passwords as requests bring them, and the files of those who have some.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::acceptor::access::credentials::Credentials;
use crate::passwords::users::{Users, check_name};

/// The value of an `Authorization` on the first line, then a file of users. The name and the password that are read are
/// those that were encoded. A file is read as users, each with a name that may be sent, or as an error that names the
/// line and quotes nothing of it.
pub fn credentials(data: &[u8]) {
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    let read = header(&data[..end]);
    let text = String::from_utf8_lossy(data.get(end + 1..).unwrap_or_default()).into_owned();
    match Users::parse(&text) {
        Ok(users) => {
            let lines = text.lines().map(|line| line.trim_end_matches([' ', '\t', '\r']));
            let said: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
            assert_eq!(users.len(), said.len(), "{text:?}");
            for line in said {
                let (name, hash) = line.split_once(':').expect("a line of a user has a colon");
                assert_eq!(check_name(name), Ok(()), "{line:?}");
                assert_eq!(users.hash_of(name).map(|kept| kept.as_str()), Some(hash), "{line:?}");
            }
            if let Some(name) = read {
                assert_eq!(users.hash_of(&name).is_some(), text.lines().any(|line| is_of(line, &name)));
            }
        }
        Err(error) => {
            let error = error.to_string();
            let number = error.strip_prefix("is wrong in line ").and_then(|rest| rest.split(':').next());
            let line: usize = number.and_then(|number| number.parse().ok()).expect("the line is named");
            let wrong = text.lines().nth(line - 1).expect("there is such a line");
            assert!(wrong.len() < 12 || !error.contains(wrong), "{error}");
        }
    }
}

fn is_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

/// The name in the field.
fn header(bytes: &[u8]) -> Option<String> {
    let value = HeaderValue::from_bytes(bytes).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value.clone());
    let Credentials { name, password } = Credentials::of(&headers)?;
    let plain = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_control);
    assert!(!name.contains(':') && plain(name.as_bytes()) && plain(&password), "{name:?}");
    let encoded = BASE64_STANDARD.encode([name.as_bytes(), b":", &password].concat());
    let (scheme, sent) = bytes.split_at("Basic ".len());
    assert!(scheme.eq_ignore_ascii_case(b"Basic "), "{bytes:?}");
    let sent = String::from_utf8_lossy(sent.trim_ascii()).into_owned();
    assert_eq!(encoded.trim_end_matches('='), sent.trim_end_matches('='));
    headers.append(AUTHORIZATION, value);
    assert!(Credentials::of(&headers).is_none(), "two fields say nothing");
    Some(name)
}
