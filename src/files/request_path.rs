//! The path of a request as a path below a folder: decoded, or refused.
//!
//! Never here: looking anything up.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use http::Uri;

/// The decoded path relative to the root, without its first slash; `None` for one that must not be looked up.
///
/// Hidden files are not served, except `/.well-known` (RFC 8615), nor is the app's own `rip.toml`, whose `env` may
/// hold secrets. An encoded slash or NUL is never part of a file's name, and an empty segment would make the
/// redirect to `//name/` lead to another host.
pub(crate) fn plain_path(raw: &str) -> Option<String> {
    let raw = raw.strip_prefix('/')?;
    let mut path = String::new();
    let mut segments = raw.split('/').peekable();
    let mut first = true;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let name = decode(segment)?;
        let seen = part_is_seen(name.as_bytes(), first, last);
        if !seen || name.contains(['/', '\\', '\0']) || (name.is_empty() && !last) {
            return None;
        }
        path.push_str(&name);
        if !last {
            path.push('/');
        }
        first = false;
    }
    Some(path)
}

/// Whether a file may be served by its names below the root, wherever a link to it stands.
pub(crate) fn is_seen(names: &[OsString]) -> bool {
    let last = names.len().saturating_sub(1);
    names.iter().enumerate().all(|(at, name)| part_is_seen(name.as_bytes(), at == 0, at == last))
}

pub(super) fn part_is_seen(name: &[u8], first: bool, last: bool) -> bool {
    let hidden = name.starts_with(b".") && !(first && name == b".well-known");
    let own = first && last && name == b"rip.toml";
    let users = last && name.to_ascii_lowercase().ends_with(b".htpasswd");
    !hidden && !own && !users
}

/// Decodes percent-encoded bytes; `None`: the encoding is wrong, or the result is not UTF-8.
pub(crate) fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The URI of a decoded path.
pub(crate) fn uri_of(path: &str) -> Uri {
    let mut text = String::from("/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(byte.into());
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    // A path of unreserved and encoded characters always parses, unless it has 64 KiB.
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_or_refused() {
        let table = [
            ("/", Some("")),
            ("/a.txt", Some("a.txt")),
            ("/a/b/", Some("a/b/")),
            ("/gr%C3%BC%C3%9Fe%20x", Some("grüße x")),
            ("/.well-known/acme", Some(".well-known/acme")),
            ("/a/.well-known/x", None),
            ("/a/staff.htpasswd", None),
            ("/a/Staff.HTPASSWD", None),
            ("/staff.htpasswd/x", Some("staff.htpasswd/x")),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/b", None),
            ("/a/%2E%2E/b", None),
            ("/./a", None),
            ("//a", None),
            ("/a//b", None),
            ("/a%2fb", None),
            ("/a%5Cb", None),
            ("/a%00b", None),
            ("/%ff", None),
            ("/%2", None),
            ("/%zz", None),
            ("/rip.toml", None),
            ("/docs/rip.toml", Some("docs/rip.toml")),
            ("*", None),
        ];
        for (raw, expected) in table {
            assert_eq!(plain_path(raw).as_deref(), expected, "{raw}");
        }
    }

    #[test]
    fn a_file_name_survives_the_way_through_a_uri() {
        for name in ["a.txt", "grüße x/1?.txt", "100%/#.html", "a+b&c=d"] {
            assert_eq!(plain_path(uri_of(name).path()).as_deref(), Some(name));
        }
    }
}
