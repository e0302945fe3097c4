//! Sends a request to a worker, and notices an answer that comes before all is sent.
//!
//! A worker may answer without reading the body; if it then stops reading, only reading its answer gets us on.

use std::future::poll_fn;
use std::io::{self, Write};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::spec::Limits;

use super::error::ServeError;
use super::forward::Failed;
use super::link::Link;
use super::request_body::{RequestBody, broken_off};
use super::spool::{SPOOL_PIECE, Spool};

/// How far sending got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The answer, or the connection's end, came first.
    Early,
}

/// Sends head and body.
///
/// # Errors
/// [`Failed::Client`] when a streamed body breaks off or stalls. A worker that closes is no error here: it may have
/// answered before.
pub(super) async fn send(
    link: &mut Link,
    mut head: Vec<u8>,
    body: &mut RequestBody,
    limits: &Limits,
    max_body: u64,
) -> Result<Sent, Failed> {
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
        RequestBody::Streaming(incoming, length) => {
            if write(link, &head).await == Sent::Early {
                return Ok(Sent::Early);
            }
            send_streaming(link, incoming, length.is_none(), limits, max_body).await
        }
    }
}

async fn send_spooled(link: &mut Link, spool: &Spool, length: u64) -> Result<Sent, Failed> {
    let mut at = 0;
    while at < length {
        let piece = (length - at).min(SPOOL_PIECE as u64) as usize;
        let bytes = spool.read(at, piece).await.map_err(|error| Failed::Client(ServeError::Spool(error)))?;
        at += bytes.len() as u64;
        if write(link, &bytes).await == Sent::Early {
            return Ok(Sent::Early);
        }
    }
    Ok(Sent::All)
}

async fn send_streaming(
    link: &mut Link,
    body: &mut Incoming,
    chunked: bool,
    limits: &Limits,
    max_body: u64,
) -> Result<Sent, Failed> {
    let mut passed = 0;
    loop {
        let frame = tokio::select! {
            biased;
            frame = tokio::time::timeout(limits.body_idle, body.frame()) => frame,
            // Cancel-safe: what is read stays in the link.
            _ = link.fill(1024) => return Ok(Sent::Early),
        };
        let data = match frame {
            Err(_) => return Err(Failed::Client(ServeError::TooSlow("its body"))),
            Ok(Some(Err(error))) => return Err(Failed::Client(broken_off(&error))),
            Ok(None) => break,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => data,
                _ => continue,
            },
        };
        passed += data.len() as u64;
        if passed > max_body {
            return Err(Failed::Client(ServeError::BodyTooLarge { limit: max_body }));
        }
        let bytes = if chunked { as_chunk(&data) } else { data };
        if write(link, &bytes).await == Sent::Early {
            return Ok(Sent::Early);
        }
    }
    if chunked { Ok(write(link, b"0\r\n\r\n").await) } else { Ok(Sent::All) }
}

fn as_chunk(data: &Bytes) -> Bytes {
    let mut chunk = Vec::with_capacity(data.len() + 20);
    // Writing to a Vec cannot fail.
    let _ = write!(chunk, "{:x}\r\n", data.len());
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk.into()
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
                return link.poll_fill(cx, 1024).map(|_| Ok(Sent::Early));
            }
        }
    }
    Poll::Ready(Ok(Sent::All))
}

/// Head and body together go in one write up to this size.
const ONE_WRITE: u64 = 64 << 10;
