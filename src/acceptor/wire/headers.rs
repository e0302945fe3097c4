//! Owns the rules about header fields: which pass, in both directions, and which the server sets itself.
//!
//! Never here: framing (`worker_head`), or who is trusted (`peer`).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::spec::field_names::is_hop_by_hop;
pub(in crate::acceptor) use crate::spec::field_names::{is_forwarding, is_of_client_cert};

/// Whether the server writes the field itself, so that a client's own never gets through: framing, host, request id.
fn is_rewritten(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "expect" | "x-request-id")
}

/// Whether no client may send the field: `Rip-*` is between server and workers; `Proxy` becomes `HTTP_PROXY` in
/// CGI-like apps (CVE-2016-5385), to which a name with `_` is the same as one with `-`.
fn is_never_passed(name: &str) -> bool {
    name.starts_with("rip-") || name == "proxy" || name.contains('_')
}

/// Whether a client's field goes to the worker. The `x-forwarded-*` fields of a trusted peer are merged elsewhere.
pub(in crate::acceptor) fn passes_to_worker(name: &HeaderName, named: &Named, trusted: bool) -> bool {
    let text = name.as_str();
    // Most fields start with a letter that no rule is about.
    match text.as_bytes()[0] {
        b'c' | b'e' | b'f' | b'h' | b'k' | b'p' | b'r' | b't' | b'u' | b'x' => {}
        _ => return !text.contains('_') && !named.has(name),
    }
    let own = is_hop_by_hop(text) || is_rewritten(text) || is_never_passed(text) || is_merged(text);
    !own && (trusted || !is_forwarding(text)) && !named.has(name)
}

/// The forwarding fields that the server always writes itself.
fn is_merged(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-request-start"
    )
}

/// The fields that a message's `Connection` names.
#[derive(Debug, Default)]
pub(in crate::acceptor) struct Named(Vec<HeaderName>);

impl Named {
    pub(in crate::acceptor) fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(header::CONNECTION).iter().flat_map(Self::in_value).collect())
    }

    /// The fields that one `Connection` names.
    pub(in crate::acceptor) fn in_value(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
        let tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let about_itself =
            |token: &[u8]| token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close");
        tokens
            .filter(move |token| !about_itself(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
    }

    pub(in crate::acceptor) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::acceptor) fn has(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }

    /// Whether `Connection` names an upgrade.
    pub(in crate::acceptor) fn says_upgrade(&self) -> bool {
        self.0.contains(&header::UPGRADE)
    }
}

/// Whether a field of an answer is between server and worker, or one that the server writes itself.
pub(in crate::acceptor) fn is_between_neighbours(name: &str) -> bool {
    is_hop_by_hop(name) || name == "date" || name.starts_with("rip-")
}

/// Takes the fields out of a worker's answer that clients must not see, and those that the server writes itself.
pub(in crate::acceptor) fn clean_answer(headers: &mut HeaderMap, keep_trailer: bool) {
    let named = Named::of(headers);
    let goes = |name: &HeaderName| match name.as_str() {
        "trailer" => !keep_trailer,
        text => is_between_neighbours(text) || named.has(name),
    };
    // Few answers have more than one such field.
    while let Some(name) = headers.keys().find(|name| goes(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether an answer of this status has no body, and no field about one: no `Content-Length` (RFC 9110 §8.6; that of a
/// worker's 304 may not be that of the 200), and no `Transfer-Encoding` (RFC 9112 §6.1).
pub(in crate::acceptor) fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a comma-separated field contains the token, in any case.
pub(in crate::acceptor) fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(name: &str, trusted: bool) -> bool {
        passes_to_worker(&HeaderName::from_bytes(name.as_bytes()).unwrap(), &Named::default(), trusted)
    }

    #[test]
    fn ordinary_fields_pass() {
        for name in
            ["accept", "cookie", "authorization", "content-type", "user-agent", "x-custom", "range", "origin"]
        {
            assert!(passes(name, false), "{name}");
        }
    }

    #[test]
    fn what_a_stranger_must_not_say_is_removed() {
        for name in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-user",
            "forwarded",
            "x-real-ip",
            "x-request-start",
            "x-client-cert",
            "x-client-cert-dn",
            "client-cert",
            "client-cert-chain",
            "rip-worker-busy",
            "proxy",
            "connection",
            "te",
            "transfer-encoding",
            "content-length",
            "keep-alive",
            "upgrade",
            "x_forwarded_for",
            "a_b",
            "x-request-id",
            "expect",
        ] {
            assert!(!passes(name, false), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_may_say_more_but_not_everything() {
        assert!(passes("x-real-ip", true));
        assert!(passes("x-forwarded-user", true));
        for name in
            ["rip-anything", "proxy", "connection", "x_real_ip", "x-forwarded-for", "x-forwarded-prefix"]
        {
            assert!(!passes(name, true), "{name}");
        }
    }

    #[test]
    fn fields_named_in_connection_do_not_pass() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close, X-Secret , upgrade"));
        let named = Named::of(&headers);
        assert!(!passes_to_worker(&HeaderName::from_static("x-secret"), &named, true));
        assert!(named.says_upgrade());
    }

    #[test]
    fn an_answer_loses_what_is_between_server_and_worker() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("rip-worker-busy", "1"),
            ("rip-reloads", "3"),
            ("date", "today"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
            ("trailer", "x"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        clean_answer(&mut headers, false);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
    }
}
