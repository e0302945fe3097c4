//! Sends a request to a worker, and notices an answer that comes before all is sent.
//!
//! A worker may answer without reading the body; if it then stops reading, only reading its answer gets us on.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::error::ServeError;
use super::forward::Failed;
use super::link::{Link, Source};
use super::request_body::RequestBody;
use super::spool::{SPOOL_PIECE, Spool};
use super::trailers::last_chunk;
use super::upload::chunk;

/// How far sending got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The answer, or the connection's end, came first.
    Early,
}

/// Sends the head and, where it was collected, the body.
///
/// # Errors
/// [`Failed::Client`] when the spool cannot be read. A worker that closes is no error here: it may have answered
/// before.
pub(super) async fn send(link: &mut Link, mut head: Vec<u8>, body: &RequestBody) -> Result<Sent, Failed> {
    match body {
        RequestBody::Empty => Ok(write(link, &head).await),
        RequestBody::Memory(pieces, length) if *length <= ONE_WRITE => {
            for piece in pieces {
                head.extend_from_slice(piece);
            }
            Ok(write(link, &head).await)
        }
        RequestBody::Memory(pieces, _) => {
            if write(link, &head).await == Sent::Early {
                return Ok(Sent::Early);
            }
            for piece in pieces {
                if write(link, piece).await == Sent::Early {
                    return Ok(Sent::Early);
                }
            }
            Ok(Sent::All)
        }
        RequestBody::Spooled(spool, length) => {
            if write(link, &head).await == Sent::Early {
                return Ok(Sent::Early);
            }
            send_spooled(link, spool, *length).await
        }
        RequestBody::WithTrailers(body, trailers) => {
            if write(link, &head).await == Sent::Early {
                return Ok(Sent::Early);
            }
            send_chunked(link, body, trailers).await
        }
        // Its body follows on its own: see `upload`.
        RequestBody::Streaming(..) | RequestBody::PassedOn => Ok(write(link, &head).await),
    }
}

async fn send_spooled(link: &mut Link, spool: &Spool, length: u64) -> Result<Sent, Failed> {
    let mut at = 0;
    while at < length {
        let bytes = read_spooled(spool, at, length).await?;
        at += bytes.len() as u64;
        if write(link, &bytes).await == Sent::Early {
            return Ok(Sent::Early);
        }
    }
    Ok(Sent::All)
}

async fn send_chunked(link: &mut Link, body: &RequestBody, trailers: &HeaderMap) -> Result<Sent, Failed> {
    match body {
        RequestBody::Memory(pieces, _) => {
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                if write(link, &chunk(piece)).await == Sent::Early {
                    return Ok(Sent::Early);
                }
            }
        }
        RequestBody::Spooled(spool, length) => {
            let mut at = 0;
            while at < *length {
                let bytes = read_spooled(spool, at, *length).await?;
                at += bytes.len() as u64;
                if write(link, &chunk(&bytes)).await == Sent::Early {
                    return Ok(Sent::Early);
                }
            }
        }
        _ => {}
    }
    Ok(write(link, &last_chunk(trailers)).await)
}

async fn read_spooled(spool: &Spool, at: u64, length: u64) -> Result<Bytes, Failed> {
    let piece = (length - at).min(SPOOL_PIECE as u64) as usize;
    spool.read(at, piece).await.map_err(|error| Failed::Client(ServeError::Spool(error)))
}

/// Writes all of it; stops early when the worker has something to say while it does not read.
async fn write(link: &mut Link, bytes: &[u8]) -> Sent {
    let mut rest = bytes;
    poll_fn(|cx| poll_write_all(link, &mut rest, cx)).await.unwrap_or(Sent::Early)
}

fn poll_write_all(link: &mut Link, rest: &mut &[u8], cx: &mut Context<'_>) -> Poll<io::Result<Sent>> {
    while !rest.is_empty() {
        match link.poll_write(cx, rest) {
            Poll::Ready(written) => *rest = &rest[written?..],
            Poll::Pending => {
                return link.poll_fill(cx).map(|_| Ok(Sent::Early));
            }
        }
    }
    Poll::Ready(Ok(Sent::All))
}

/// Head and body together go in one write up to this size.
const ONE_WRITE: u64 = 64 << 10;
