//! Sends a request to a worker, and notices an answer that comes before all is sent.
//!
//! A worker may answer without reading the body. If it then stops reading, the request goes on only when its answer is
//! read.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::body_coding::BodyCoding;
use super::exchange_error::ExchangeError;
use super::upstream_conn::{Source, UpstreamConn};
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::body::spool::{SPOOL_PIECE, Spool};
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::write_batch::{PendingWrite, WriteBatch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Sent {
    All,
    /// The answer, or the connection's end, came before all was sent.
    Early,
}

/// Sends the head and, where it was collected, the body: by the write batch, if one is given and all fits into one
/// write. Sets `all_sent` when all was sent.
///
/// # Cancel safety
/// After the future was dropped, `all_sent` says whether the worker got the whole request.
///
/// # Errors
/// [`ExchangeError::Client`] when the spool cannot be read; [`ExchangeError::Unsent`] when a kept connection
/// turns out to be closed. A worker that closes later is no error here: it may have answered before.
pub(in crate::acceptor) async fn send(
    upstream: &mut UpstreamConn,
    mut head: Vec<u8>,
    body: &RequestBody,
    coding: BodyCoding,
    write_batch: Option<&WriteBatch>,
    all_sent: &mut bool,
) -> Result<Sent, ExchangeError> {
    let in_one_write = match body {
        RequestBody::Empty => true,
        RequestBody::Memory(body) if body.length <= ONE_WRITE => {
            for piece in body.pieces.iter().filter(|piece| !piece.is_empty()) {
                match coding {
                    BodyCoding::Plain => head.extend_from_slice(piece),
                    coding => head.extend_from_slice(&coding.piece(piece)),
                }
            }
            true
        }
        _ => false,
    };
    if in_one_write && coding == BodyCoding::Records {
        head.extend_from_slice(&coding.end(&HeaderMap::new()));
    }
    if let Some(write_batch) = write_batch.filter(|_| in_one_write) {
        return post(upstream, head, write_batch, all_sent).await;
    }
    if write_from(upstream, &head, 0).await? == Sent::Early {
        return Ok(Sent::Early);
    }
    // The body follows on its own; see `upload`.
    let follows = matches!(body, RequestBody::Streaming(..) | RequestBody::PassedOn);
    let sent = match in_one_write || follows {
        true => Sent::All,
        // The future is boxed: most requests have no such body.
        false => Box::pin(send_body(upstream, body, coding)).await?,
    };
    *all_sent = sent == Sent::All;
    Ok(sent)
}

/// Sends a collected body and its end.
async fn send_body(
    upstream: &mut UpstreamConn,
    body: &RequestBody,
    coding: BodyCoding,
) -> Result<Sent, ExchangeError> {
    let none = HeaderMap::new();
    let (body, trailers) = match body {
        RequestBody::WithTrailers(trailed) => (&trailed.0, &trailed.1),
        body => (body, &none),
    };
    match body {
        RequestBody::Memory(body) => {
            for piece in body.pieces.iter().filter(|piece| !piece.is_empty()) {
                if write(upstream, &coding.piece(piece)).await == Sent::Early {
                    return Ok(Sent::Early);
                }
            }
        }
        RequestBody::Spooled { spool, length, .. } => {
            let mut at = 0;
            while at < *length {
                let bytes = read_spooled(spool, at, *length).await?;
                at += bytes.len() as u64;
                if write(upstream, &coding.piece(&bytes)).await == Sent::Early {
                    return Ok(Sent::Early);
                }
            }
        }
        _ => {}
    }
    Ok(write(upstream, &coding.end(trailers)).await)
}

async fn read_spooled(spool: &Spool, at: u64, length: u64) -> Result<Bytes, ExchangeError> {
    let piece = (length - at).min(SPOOL_PIECE as u64) as usize;
    spool.read(at, piece).await.map_err(|error| ExchangeError::Client(ServeError::Spool(error)))
}

/// Sends a whole request by the write batch, together with those of others. The answer wakes the task that waits here.
async fn post(
    upstream: &mut UpstreamConn,
    request: Vec<u8>,
    write_batch: &WriteBatch,
    all_sent: &mut bool,
) -> Result<Sent, ExchangeError> {
    let mut underway = Underway { posted: upstream.post(write_batch, request), all_sent };
    let sent = match (&mut underway.posted).await {
        Ok(count) if count == underway.posted.bytes().len() => Sent::All,
        // The future is boxed: most requests are written at once.
        Ok(count) => Box::pin(write_from(upstream, underway.posted.bytes(), count)).await?,
        Err(error) => not_written(upstream, error, true)?,
    };
    *underway.all_sent = sent == Sent::All;
    Ok(sent)
}

/// A request in the write batch. When the task leaves it there, the guard finds out whether it was sent.
struct Underway<'a> {
    posted: PendingWrite,
    all_sent: &'a mut bool,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        *self.all_sent |= self.posted.is_written();
    }
}

/// Writes the beginning of a request, without the bytes that were written already.
async fn write_from(
    upstream: &mut UpstreamConn,
    bytes: &[u8],
    written: usize,
) -> Result<Sent, ExchangeError> {
    let mut rest = &bytes[written..];
    match poll_fn(|cx| poll_write_all(upstream, &mut rest, cx)).await {
        Ok(sent) => Ok(sent),
        Err(error) => not_written(upstream, error, rest.len() == bytes.len()),
    }
}

/// The error of a write. When a kept connection took not a byte, because the worker has closed it or bytes lie on it,
/// the worker cannot have acted on the request, and the bytes cannot be its answer.
fn not_written(upstream: &UpstreamConn, error: io::Error, nothing: bool) -> Result<Sent, ExchangeError> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, InvalidData};

    if upstream.reused && nothing && matches!(error.kind(), BrokenPipe | ConnectionReset | InvalidData) {
        Err(ExchangeError::Unsent(error))
    } else {
        Ok(Sent::Early)
    }
}

/// Writes all bytes; stops early when the worker sends something and does not read.
async fn write(upstream: &mut UpstreamConn, bytes: &[u8]) -> Sent {
    let mut rest = bytes;
    poll_fn(|cx| poll_write_all(upstream, &mut rest, cx)).await.unwrap_or(Sent::Early)
}

fn poll_write_all(
    upstream: &mut UpstreamConn,
    rest: &mut &[u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<Sent>> {
    while !rest.is_empty() {
        match upstream.poll_write(cx, rest) {
            Poll::Ready(written) => *rest = &rest[written?..],
            Poll::Pending => {
                return upstream.poll_fill(cx).map(|_| Ok(Sent::Early));
            }
        }
    }
    Poll::Ready(Ok(Sent::All))
}

/// Lets other tasks that are ready run first.
pub(in crate::acceptor) async fn after_the_others() {
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

/// The largest head and body that go in one write together.
const ONE_WRITE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use crate::acceptor::worker_stream::WorkerStream;

    use super::*;

    fn pair() -> (UpstreamConn, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (UpstreamConn::kept(WorkerStream::new(ours.into()).unwrap()), theirs)
    }

    #[tokio::test]
    async fn a_request_for_a_kept_connection_that_was_just_closed_is_known_to_be_unsent() {
        let (mut upstream, mut worker) = pair();
        // Bytes that the worker sent before it closed the connection are no answer.
        worker.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
        drop(worker);
        let sent = send(
            &mut upstream,
            b"POST / HTTP/1.1\r\n\r\n".to_vec(),
            &RequestBody::Empty,
            BodyCoding::Plain,
            None,
            &mut false,
        )
        .await;
        assert!(matches!(sent, Err(ExchangeError::Unsent(_))));
    }

    #[tokio::test]
    async fn a_new_connection_that_is_closed_may_have_been_answered() {
        let (mut upstream, worker) = pair();
        upstream.reused = false;
        drop(worker);
        let sent = send(
            &mut upstream,
            b"POST / HTTP/1.1\r\n\r\n".to_vec(),
            &RequestBody::Empty,
            BodyCoding::Plain,
            None,
            &mut false,
        )
        .await;
        assert!(matches!(sent, Ok(Sent::Early)));
    }

    #[tokio::test]
    async fn who_leaves_before_the_answer_knows_whether_the_request_was_sent() {
        for (outbox_runs, expected) in [(true, true), (false, false)] {
            let (mut upstream, _worker) = pair();
            let (write_batch, mut all_sent) = (WriteBatch::default(), false);
            let request = b"POST / HTTP/1.1\r\n\r\n".to_vec();
            tokio::select! {
                biased;
                _ = send(&mut upstream, request, &RequestBody::Empty, BodyCoding::Plain, Some(&write_batch), &mut all_sent) => unreachable!(),
                () = write_batch.clone().run(), if outbox_runs => unreachable!(),
                () = std::future::ready(()) => {}
            }
            assert_eq!(all_sent, expected);
        }
    }
}
