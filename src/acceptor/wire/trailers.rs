//! The fields behind a body: which pass to a worker and which to a client, and how they are written for a worker.
//!
//! Never here: reading trailers off a worker's answer (`worker_body`).

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};

use super::encode::{LAST_CHUNK, write_field};
use super::headers::{Named, is_between_neighbours, passes_to_worker};

/// Takes the fields out of a request's trailers that come too late behind a body, and those that no client may send.
pub(in crate::acceptor) fn clean(trailers: &mut HeaderMap) {
    let nobody = Named::default();
    keep(trailers, |name| passes(name, &nobody));
}

fn passes(name: &HeaderName, nobody: &Named) -> bool {
    !comes_too_late(name.as_str()) && passes_to_worker(name, nobody, false)
}

/// Takes the fields out of an answer's trailers that come too late behind a body, that are between server and worker,
/// or that the server writes itself. `named`: the fields that the `Connection` of the answer's head names.
pub(in crate::acceptor) fn clean_answer(trailers: &mut HeaderMap, named: Option<&Named>) {
    let here = Named::of(trailers);
    keep(trailers, |name| {
        let text = name.as_str();
        let own = is_between_neighbours(text) || matches!(text, "x-request-id" | "strict-transport-security");
        let of_connection = here.has(name) || named.is_some_and(|named| named.has(name));
        !own && !of_connection && !comes_too_late(text)
    });
}

/// Whether a field is of no use, or dangerous, once the body has passed (RFC 9110 §6.5.1): framing, routing,
/// conditions, authentication, control of caches and of what the client does next, and what the content is.
fn comes_too_late(name: &str) -> bool {
    // Digests of the content are known only at its end (RFC 9530 §6.5).
    let of_content = name.starts_with("content-") && name != "content-digest";
    of_content
        || name.starts_with("if-")
        || name.starts_with("sec-")
        || matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "cookie"
                | "expect"
                | "expires"
                | "host"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "vary"
                | "warning"
                | "www-authenticate"
        )
}

fn keep(trailers: &mut HeaderMap, passes: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = trailers.keys().find(|name| !passes(name)).cloned() {
        trailers.remove(name);
    }
}

/// The end of a chunked body, with the trailers that pass.
pub(in crate::acceptor) fn last_chunk(trailers: &HeaderMap) -> Bytes {
    if trailers.is_empty() {
        return Bytes::from_static(b"0\r\n\r\n");
    }
    let mut end = LAST_CHUNK.to_vec();
    let nobody = Named::default();
    for (name, value) in trailers.iter().filter(|(name, _)| passes(name, &nobody)) {
        write_field(&mut end, name.as_str(), value.as_bytes());
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

    #[test]
    fn of_an_answer_only_what_is_known_at_its_end_passes() {
        let mut trailers = HeaderMap::new();
        let pass = [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "server-timing",
            "etag",
            "digest",
            "content-digest",
            "repr-digest",
            "authentication-info",
            "x-checksum",
            "x_sum",
        ];
        let stay = [
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "trailer",
            "te",
            "upgrade",
            "host",
            "set-cookie",
            "content-type",
            "content-encoding",
            "content-range",
            "cache-control",
            "expires",
            "age",
            "vary",
            "location",
            "retry-after",
            "www-authenticate",
            "proxy-authenticate",
            "date",
            "rip-reloads",
            "rip-worker-busy",
            "x-request-id",
            "strict-transport-security",
            "x-hop",
            "x-head-hop",
        ];
        for name in pass.iter().chain(&stay) {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        trailers.insert("connection", HeaderValue::from_static("x-hop"));
        let mut head = HeaderMap::new();
        head.insert("connection", HeaderValue::from_static("x-head-hop"));
        clean_answer(&mut trailers, Some(&Named::of(&head)));
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut expected = pass;
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
