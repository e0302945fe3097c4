//! Finds the app of a request by its names: the host is checked and looked up, and contradictions are refused.
//!
//! Never here: waiting, or asking a worker.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Version, header};

use crate::directory::{HostRoutes, Route};
use crate::name::HostName;
use crate::spec::ClientCerts;

use crate::acceptor::connection::client_cert;
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::shard::{Connection, Role};

/// A request's host: as the client sent it, for the worker, and in its canonical form.
pub(in crate::acceptor) struct Host<'a> {
    /// The authority with its port, as the client wrote it.
    pub(in crate::acceptor) authority: &'a str,
    /// The canonical name, without port.
    pub(in crate::acceptor) name: Cow<'a, str>,
    /// The host's route, if the connection's last request was for the same host and the path does not matter.
    known: Option<Arc<Route>>,
}

/// Checks what the parser lets through (RFC 9112 §3, RFC 9110 §7.2), and finds the one host.
///
/// # Errors
/// [`ServeError::Malformed`], [`ServeError::TargetTooLong`], [`ServeError::Method`].
pub(in crate::acceptor) fn check<'a>(parts: &'a Parts, conn: &Connection) -> Result<Host<'a>, ServeError> {
    if !parts.method.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(ServeError::Malformed("its method is not in upper case"));
    }
    let max_fields = conn.shard.server.limits.max_fields;
    if parts.headers.len() > max_fields {
        return Err(ServeError::TooManyFields { limit: max_fields });
    }
    if matches!(parts.method.as_str(), "CONNECT" | "TRACE") {
        return Err(ServeError::Method);
    }
    let target = target_of(parts)?;
    if target.len() > conn.shard.server.limits.max_url {
        return Err(ServeError::TargetTooLong { limit: conn.shard.server.limits.max_url });
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ServeError::Malformed("its target has a byte that must be percent-encoded"));
    }
    find_host(parts, conn)
}

/// The path with its query, or the `*` of OPTIONS (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// The parser also lets through a name with a port, which belongs to CONNECT alone, and over HTTP/2 a path that begins
/// with `?` and foreign schemes.
fn target_of(parts: &Parts) -> Result<&str, ServeError> {
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(ServeError::Malformed("the scheme of its target is neither `http` nor `https`"));
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    // `http://host?query` has no path, and means `/`.
    let absolute = parts.version < Version::HTTP_2 && parts.uri.scheme().is_some();
    let allowed = target.starts_with('/')
        || (target == "*" && parts.method == Method::OPTIONS)
        || (target.starts_with('?') && absolute);
    if allowed { Ok(target) } else { Err(ServeError::Malformed("its target is not a path")) }
}

fn find_host<'a>(parts: &'a Parts, conn: &Connection) -> Result<Host<'a>, ServeError> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(ServeError::Malformed("it has two Host fields"));
    }
    let in_target = parts.uri.authority().map(Authority::as_str);
    let authority = match (field, in_target) {
        (None, None) => return Err(ServeError::Malformed("it has no Host field")),
        // A target in absolute form does not replace the `Host` field (RFC 9112 §3.2).
        (None, Some(_)) if parts.version < Version::HTTP_2 => {
            return Err(ServeError::Malformed("it has no Host field"));
        }
        (None, Some(target)) => target.as_bytes(),
        (Some(field), None) => field.as_bytes(),
        (Some(field), Some(target)) if field.as_bytes().eq_ignore_ascii_case(target.as_bytes()) => {
            field.as_bytes()
        }
        (Some(_), Some(_)) => {
            return Err(ServeError::Malformed("its target and its Host field name different hosts"));
        }
    };
    let none = ServeError::Malformed("its Host is not a host name");
    let Ok(authority) = std::str::from_utf8(authority) else { return Err(none) };
    if let Some((length, route)) = conn.last.of(authority, &conn.shard.directory) {
        return Ok(Host { authority, name: Cow::Borrowed(&authority[..length]), known: Some(route) });
    }
    let name = canonical(authority).ok_or(none)?;
    Ok(Host { authority, name, known: None })
}

/// The canonical name of an authority, borrowed where the authority begins with it; `None` when the authority names no
/// host.
///
/// A worker gets the field as it was sent, so that a spelling that two programs may read differently names no host:
/// white space, or letters beyond ASCII (RFC 3986 §3.2.2).
pub(in crate::acceptor) fn canonical(authority: &str) -> Option<Cow<'_, str>> {
    if !authority.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            let port = &authority[colon + 1..];
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || (!port.is_empty() && port.parse::<u16>().is_err()) {
                return None;
            }
            &authority[..colon]
        }
        _ => authority,
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // A last label that begins with a digit may be an address in one of its many spellings.
    let last = host.rsplit('.').next().unwrap_or(host);
    let looks_canonical = host.bytes().all(|byte| plain(byte) || byte == b'.')
        && last.starts_with(|first: char| first.is_ascii_lowercase())
        && host.len() < 254
        && !host.is_empty()
        && !host.starts_with(['.', '-'])
        && !host.ends_with(['.', '-'])
        && !host.contains("..");
    // The canonical spelling of an IPv4 address is the only one that is taken.
    if looks_canonical || host.parse::<Ipv4Addr>().is_ok() {
        return Some(Cow::Borrowed(host));
    }
    if host.contains('*') {
        return None;
    }
    let name = HostName::parse(host).ok()?;
    Some(Cow::Owned(name.as_str().to_owned()))
}

/// Finds the app.
///
/// # Errors
/// [`ServeError::UnknownHost`]; [`ServeError::UnknownPath`]; [`ServeError::Malformed`] for a path that may lead to
/// several apps; [`ServeError::Misdirected`] when the TLS handshake was for another app (RFC 9110 §15.5.20).
pub(in crate::acceptor) fn find(
    host: &mut Host<'_>,
    path: &str,
    conn: &Connection,
) -> Result<Arc<Route>, ServeError> {
    if let Some(route) = host.known.take() {
        return Ok(route);
    }
    let version = conn.shard.directory.version();
    let routes = conn.shard.directory.lookup(&host.name).ok_or(ServeError::UnknownHost)?;
    let route = routes.at(path)?.ok_or(ServeError::UnknownPath)?;
    check_handshake(host, route, conn)?;
    if let (HostRoutes::Whole(route), Cow::Borrowed(_)) = (&routes, &host.name) {
        conn.last.note(host.authority, host.name.len(), version, route);
    }
    Ok(Arc::clone(route))
}

/// The fields with the client's certificate for workers; none for an app whose hosts ask for none.
///
/// # Errors
/// [`ServeError::Misdirected`] when the handshake has not asked the client for the certificate that this app asks for:
/// the handshake named a host of another app or none, it was before the app's settings changed, or there was no
/// handshake and the app requires a certificate.
pub(in crate::acceptor) fn client_cert_fields<'a>(
    asked: &ClientCerts,
    conn: &'a Connection,
) -> Result<&'a [(HeaderName, HeaderValue)], ServeError> {
    if !asked.are_asked_for() {
        return Ok(&[]);
    }
    match conn.client_cert.as_deref() {
        Some(shown) if shown.asked == *asked => Ok(&shown.fields),
        None if conn.role == Role::Http && !asked.are_required() => Ok(&client_cert::NONE),
        _ => Err(ServeError::Misdirected),
    }
}

fn check_handshake(host: &Host<'_>, route: &Route, conn: &Connection) -> Result<(), ServeError> {
    // The usual case costs no second look-up.
    if conn.sni.as_ref().is_none_or(|sni| sni.as_str() == &*host.name) {
        return Ok(());
    }
    let leads_there =
        |routes: HostRoutes| routes.all().iter().any(|other| Arc::ptr_eq(&other.app, &route.app));
    if conn.sni_routes().is_none_or(leads_there) { Ok(()) } else { Err(ServeError::Misdirected) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_become_canonical_names() {
        for (authority, name) in [
            ("a.example", "a.example"),
            ("A.Example:8443", "a.example"),
            ("a.example.", "a.example"),
            ("a1.example:443", "a1.example"),
            ("127.0.0.1:5000", "127.0.0.1"),
            ("[::1]:5000", "[::1]"),
            ("a.example:", "a.example"),
            ("a.example:65535", "a.example"),
            ("XN--bcher-kva.example", "xn--bcher-kva.example"),
            ("[::1]", "[::1]"),
            ("my_app.local", "my_app.local"),
        ] {
            assert_eq!(canonical(authority).as_deref(), Some(name), "{authority}");
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for authority in [
            "",
            ":80",
            "a b",
            "a/b",
            "a:b",
            "a:123456",
            "user@a",
            "a..b",
            ".a",
            "-a",
            "[::1",
            "*.a",
            "a\0",
            "a,b",
            "a:65536",
            "a:99999",
            "b\u{fc}cher.example",
            "a\u{3000}",
            "\u{a0}a",
            "a\t",
            "\u{ff41}.example",
            "a\u{3002}example",
        ] {
            assert_eq!(canonical(authority), None, "{authority:?}");
        }
    }
}
