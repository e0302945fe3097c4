//! The fields behind a request's body: which pass to a worker, and how they are written.
//!
//! Never here: trailers of answers (`worker_body`).

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};

use super::headers::{Named, passes_to_worker};

/// Takes out what must not come behind a body (RFC 9110 §6.5.1): framing, routing, conditions, authentication and
/// what the content is were decided on before; and what no client may say at all.
pub(super) fn clean(trailers: &mut HeaderMap) {
    let nobody = Named::default();
    while let Some(name) = trailers.keys().find(|name| !passes(name, &nobody)).cloned() {
        trailers.remove(name);
    }
}

fn passes(name: &HeaderName, nobody: &Named) -> bool {
    let text = name.as_str();
    let decided = text.starts_with("content-") || text.starts_with("if-") || text.starts_with("sec-");
    let decided = decided
        || matches!(
            text,
            "authorization" | "cookie" | "cache-control" | "pragma" | "range" | "max-forwards" | "set-cookie"
        );
    !decided && passes_to_worker(name, nobody, false)
}

/// The end of a chunked body, with the trailers that pass.
pub(super) fn last_chunk(trailers: &HeaderMap) -> Bytes {
    if trailers.is_empty() {
        return Bytes::from_static(b"0\r\n\r\n");
    }
    let mut end = b"0\r\n".to_vec();
    let nobody = Named::default();
    for (name, value) in trailers.iter().filter(|(name, _)| passes(name, &nobody)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            end.extend_from_slice(part);
        }
    }
    end.extend_from_slice(b"\r\n");
    end.into()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn only_what_may_come_last_passes() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-checksum",
            "digest",
            "server-timing",
            "grpc-status",
            "authorization",
            "content-length",
            "content-type",
            "transfer-encoding",
            "host",
            "x-forwarded-for",
            "x-real-ip",
            "x_checksum",
            "rip-worker-busy",
            "if-match",
            "cookie",
            "connection",
            "trailer",
            "expect",
            "range",
            "proxy",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(
            last_chunk(&trailers),
            "0\r\nx-checksum: 1\r\ndigest: 1\r\nserver-timing: 1\r\ngrpc-status: 1\r\n\r\n"
        );
        clean(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["digest", "grpc-status", "server-timing", "x-checksum"]);
        assert_eq!(last_chunk(&HeaderMap::new()), "0\r\n\r\n");
    }
}
