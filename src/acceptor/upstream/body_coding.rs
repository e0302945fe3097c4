//! How a request's body is written for a worker: as it is, in chunks (RFC 9112 §7.1), or in FastCGI's records.
//!
//! Never here: where the body comes from (`send`, `upload`).

use bytes::Bytes;
use http::HeaderMap;

use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::wire::encode::{CHUNK_END, write_chunk_size};
use crate::acceptor::wire::trailers::last_chunk;
use crate::fastcgi::request::{STDIN_END, stdin};
use crate::spec::Protocol;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum BodyCoding {
    /// The body as it is: its length is known.
    Plain,
    Chunked,
    Records,
}

impl BodyCoding {
    /// How this body is written for workers that speak `protocol`.
    pub(in crate::acceptor) fn of(protocol: Protocol, body: &RequestBody) -> Self {
        match body {
            _ if protocol == Protocol::FastCgi => Self::Records,
            RequestBody::WithTrailers(..) | RequestBody::Streaming(_, None) => Self::Chunked,
            _ => Self::Plain,
        }
    }

    /// A piece of the body as it is written. The piece must not be empty: that would be the body's end.
    pub(in crate::acceptor) fn piece(self, data: &Bytes) -> Bytes {
        debug_assert!(!data.is_empty());
        let mut coded = Vec::new();
        match self {
            Self::Plain => return data.clone(),
            Self::Chunked => {
                coded.reserve(data.len() + 20);
                write_chunk_size(&mut coded, data.len());
                coded.extend_from_slice(data);
                coded.extend_from_slice(CHUNK_END);
            }
            Self::Records => stdin(&mut coded, data),
        }
        coded.into()
    }

    /// The end of the body as it is written. Only chunks have a place for trailers.
    pub(in crate::acceptor) fn end(self, trailers: &HeaderMap) -> Bytes {
        match self {
            Self::Plain => Bytes::new(),
            Self::Chunked => last_chunk(trailers),
            Self::Records => Bytes::from_static(&STDIN_END),
        }
    }
}
