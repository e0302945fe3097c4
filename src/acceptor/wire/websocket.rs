//! The opening handshake of a WebSocket (RFC 6455 §4) where one side opened it over HTTP/2 (RFC 8441), which has no key
//! and no answer to one.
//!
//! Never here: the tunnel that the handshake opens.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};

/// The answer that the worker has to give to the key that it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::acceptor) struct WebSocketAccept(String);

impl WebSocketAccept {
    /// Adds the fields with which a request over HTTP/1.1 asks for a WebSocket, with a new key.
    pub(in crate::acceptor) fn ask(headers: &mut HeaderMap) -> Self {
        let key = STANDARD.encode(std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        if let Ok(key) = HeaderValue::from_str(&key) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        Self::of(key.as_bytes())
    }

    /// The answer to a key.
    pub(in crate::acceptor) fn of(key: &[u8]) -> Self {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat());
        Self(STANDARD.encode(digest))
    }

    /// Adds the fields of a 101 that open the WebSocket over HTTP/1.1.
    pub(in crate::acceptor) fn answer(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.0) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
    }

    /// Whether the fields of a worker's 101 open the WebSocket that it was asked for.
    pub(in crate::acceptor) fn is_in(&self, headers: &HeaderMap) -> bool {
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
        };
        one(header::SEC_WEBSOCKET_ACCEPT) == Some(self.0.as_bytes())
            && one(header::UPGRADE).is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }
}

/// The fixed part of the digest (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let accept = WebSocketAccept::of(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.0, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        assert!(!accept.is_in(&headers));
        headers.insert("sec-websocket-accept", HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(accept.is_in(&headers));
        headers.append("upgrade", HeaderValue::from_static("h2c"));
        assert!(!accept.is_in(&headers));
    }

    #[test]
    fn each_request_has_a_key_of_its_own_and_keeps_its_version() {
        let [mut one, mut other] = [HeaderMap::new(), HeaderMap::new()];
        other.insert("sec-websocket-version", HeaderValue::from_static("8"));
        other.insert("sec-websocket-key", HeaderValue::from_static("the client's"));
        assert_ne!(WebSocketAccept::ask(&mut one), WebSocketAccept::ask(&mut other));
        assert_eq!(one["sec-websocket-key"].len(), 24);
        assert_eq!(
            (&one["sec-websocket-version"], &other["sec-websocket-version"]),
            (&"13".parse().unwrap(), &"8".parse().unwrap())
        );
        assert_eq!(other.get_all("sec-websocket-key").iter().count(), 1);
    }
}
