//! Plain requests (`fast_head`), one after the other, from the first byte of each to the last byte of its answer. Most
//! requests are plain, and cost less here than on the general way.
//!
//! Never here: a byte of any other request (`http1` has hyper read those), or answering (`http`).

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::request::Parts;
use http::{Request, Uri};

use crate::spec::Limits;

use super::ahead::Ahead;
use super::fast_answer::{After, send};
use crate::acceptor::connection::client_stream::ClientStream;
use crate::acceptor::connection::read_ahead::ReadAhead;
use crate::acceptor::request::client_request::ClientRequest;
use crate::acceptor::request::http::answer_to;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::wire::fast_head::{HeadLimits, take_plain};

/// Why the fast path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Left {
    /// Another kind of request came; the stream has its bytes again.
    Other,
    /// The connection is to be closed: one of the two sides has said so.
    Ended,
    /// The client is gone, or has to see that its answer broke off.
    Cut,
}

/// Serves plain requests until another kind comes, or until the connection is `closing` and rests.
///
/// # Cancel safety
/// A request that is under way is given up, as if the client had left; nothing is lost between two requests.
pub(in crate::acceptor) async fn serve_plain(
    conn: &Rc<Connection>,
    stream: &mut ClientStream,
    closing: &Cell<bool>,
) -> Left {
    let Limits { max_head, max_fields, .. } = conn.shard.server.limits;
    let limits = HeadLimits { bytes: max_head, fields: max_fields };
    let mut ahead = Ahead::new(conn, stream);
    let mut client = ReadAhead::new(stream);
    // Memory that each request uses again: for its head, and for its answer.
    let (mut parts, ()) = Request::new(()).into_parts();
    let mut out = Vec::new();
    loop {
        match next_bytes(&mut client, closing).await {
            Arrival::Bytes => {}
            Arrival::End => return Left::Ended,
            Arrival::Broken => return Left::Cut,
        }
        if !take_plain(&mut client.bytes, limits, &mut parts) {
            let bytes = std::mem::take(&mut client.bytes);
            client.stream.put_back(bytes);
            return Left::Other;
        }
        let answer = {
            let mut work = pin!(answer_to(conn, ClientRequest::of_head(&parts)));
            client.unless_gone(|cx| work.as_mut().poll(cx)).await
        };
        let Some(answer) = answer else { return Left::Cut };
        forget(&mut parts);
        match send(answer, &mut client, &mut ahead, &mut out, &conn.shard.date).await {
            Ok(After::Keep) => {}
            Ok(After::Close) => return Left::Ended,
            Err(_) => return Left::Cut,
        }
    }
}

/// Forgets the fields of the last request: memory can be used again once no request has a part of it.
fn forget(parts: &mut Parts) {
    parts.headers.clear();
    parts.uri = Uri::default();
}

/// The client's next move, as the fast path sees it.
enum Arrival {
    Bytes,
    /// The client sends no more, or the server wants no more requests.
    End,
    Broken,
}

async fn next_bytes(client: &mut ReadAhead<'_>, closing: &Cell<bool>) -> Arrival {
    poll_fn(|cx| match client.poll_more(cx) {
        Poll::Ready(Ok(true)) => Poll::Ready(Arrival::Bytes),
        Poll::Ready(Ok(false)) => Poll::Ready(Arrival::End),
        Poll::Ready(Err(_)) => Poll::Ready(Arrival::Broken),
        Poll::Pending if closing.get() => Poll::Ready(Arrival::End),
        Poll::Pending => Poll::Pending,
    })
    .await
}
