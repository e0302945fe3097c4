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
/// [`Failed::Client`] when the spool cannot be read; [`Failed::Unsent`] when a kept connection turns out to be closed.
/// A worker that closes later is no error here: it may have answered before.
pub(super) async fn send(link: &mut Link, mut head: Vec<u8>, body: &RequestBody) -> Result<Sent, Failed> {
    if let RequestBody::Memory(body) = body
        && body.length <= ONE_WRITE
    {
        for piece in &body.pieces {
            head.extend_from_slice(piece);
        }
    }
    if first_write(link, &head).await? == Sent::Early {
        return Ok(Sent::Early);
    }
    // Boxed: most requests have no such body.
    match body {
        RequestBody::Memory(body) if body.length > ONE_WRITE => {
            Box::pin(send_pieces(link, &body.pieces)).await
        }
        RequestBody::Spooled(spool, length) => Box::pin(send_spooled(link, spool, *length)).await,
        RequestBody::WithTrailers(body, trailers) => Box::pin(send_chunked(link, body, trailers)).await,
        RequestBody::Memory(_) | RequestBody::Empty => Ok(Sent::All),
        // Its body follows on its own: see `upload`.
        RequestBody::Streaming(..) | RequestBody::PassedOn => Ok(Sent::All),
    }
}

async fn send_pieces(link: &mut Link, pieces: &[Bytes]) -> Result<Sent, Failed> {
    for piece in pieces {
        if write(link, piece).await == Sent::Early {
            return Ok(Sent::Early);
        }
    }
    Ok(Sent::All)
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
        RequestBody::Memory(body) => {
            for piece in body.pieces.iter().filter(|piece| !piece.is_empty()) {
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

/// Writes what a request begins with. On a kept connection that the worker has closed meanwhile not a byte is taken:
/// it cannot have acted on this request, nor can what it may have said be the answer.
async fn first_write(link: &mut Link, bytes: &[u8]) -> Result<Sent, Failed> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};

    let mut rest = bytes;
    match poll_fn(|cx| poll_write_all(link, &mut rest, cx)).await {
        Err(error)
            if link.reused
                && rest.len() == bytes.len()
                && matches!(error.kind(), BrokenPipe | ConnectionReset) =>
        {
            Err(Failed::Unsent(error))
        }
        written => Ok(written.unwrap_or(Sent::Early)),
    }
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

/// Lets tasks that are ready go on first: what they read and what we send next are then done in a row each.
///
/// A request that is sent wakes its worker. While others of the same moment are still read and parsed in between, the
/// worker's core falls asleep again each time, and to wake a core that sleeps costs more than all else a request does.
pub(super) async fn after_the_others() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Head and body together go in one write up to this size.
const ONE_WRITE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use crate::pool::WorkerStream;

    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Link::kept(WorkerStream::new(ours.into()).unwrap()), theirs)
    }

    #[tokio::test]
    async fn a_request_for_a_kept_connection_that_was_just_closed_is_known_to_be_unsent() {
        let (mut link, mut worker) = pair();
        // What it said before it closed is no answer.
        worker.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
        drop(worker);
        let sent = send(&mut link, b"POST / HTTP/1.1\r\n\r\n".to_vec(), &RequestBody::Empty).await;
        assert!(matches!(sent, Err(Failed::Unsent(_))));
    }

    #[tokio::test]
    async fn a_new_connection_that_is_closed_may_have_been_answered() {
        let (mut link, worker) = pair();
        link.reused = false;
        drop(worker);
        let sent = send(&mut link, b"POST / HTTP/1.1\r\n\r\n".to_vec(), &RequestBody::Empty).await;
        assert!(matches!(sent, Ok(Sent::Early)));
    }
}
