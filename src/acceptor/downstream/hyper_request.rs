//! Requests that hyper has read, as `request` takes them, and their answers as hyper takes those.
//!
//! Never here: connections (`http1`, `http2`), or what a request is answered.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;

use crate::acceptor::body::client_body::{BodyError, ClientBody};
use crate::acceptor::error::ServeError;
use crate::acceptor::request::client_answer::Answer;
use crate::acceptor::request::client_request::ClientRequest;
use crate::acceptor::request::http::answer_to;
use crate::acceptor::request::reply::{REQUEST_ID, id_value};
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::upstream::reply_body::ReplyBody;
use crate::acceptor::upstream::upgrade::{Duplex, Upgrade};
use crate::acceptor::wire::headers::{Named, has_token};
use crate::acceptor::wire::websocket::WebSocketAccept;

/// Answers a request; `piece` is the most that hyper is given of the answer at a time.
///
/// # Cancel safety
/// As [`answer_to`].
pub(in crate::acceptor) fn serve(
    conn: Rc<Connection>,
    mut request: Request<Incoming>,
    piece: usize,
) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
    let (upgrade, refused) = match request.extensions_mut().remove::<Protocol>() {
        None => (upgrade_of(&mut request, &conn), None),
        Some(protocol) if protocol.as_str() == "websocket" => (Some(websocket_of(&mut request, &conn)), None),
        Some(_) => (None, Some(ServeError::Protocol)),
    };
    let (parts, body) = request.into_parts();
    let body = (!body.is_end_stream()).then(|| -> ClientBody { Box::new(FromHyper(body)) });
    let framing_error = conn.framing_error_of_next().map(|error| ServeError::Malformed(error.text()));
    let refused = refused.or(framing_error);
    // No `async fn`: its future would have room for the request twice.
    async move {
        let request = ClientRequest { parts: &parts, body, upgrade, refused };
        let Answer { mut response, id } = answer_to(&conn, request).await;
        response.body_mut().in_pieces_of(piece);
        response.headers_mut().insert(REQUEST_ID, id_value(&id));
        Ok(*response)
    }
}

/// The client's wish to change protocols, when it can be passed on. `h2c` can not: it is between neighbours only.
fn upgrade_of(request: &mut Request<Incoming>, conn: &Connection) -> Option<Upgrade> {
    let protocol = request.headers().get(header::UPGRADE)?;
    let wanted = Named::of(request.headers()).says_upgrade() && !has_token(protocol, "h2c");
    wanted.then(|| upgrade_to(request, None, conn))
}

/// A WebSocket that is opened over HTTP/2 (RFC 8441 §4); the request is changed into one of HTTP/1.1.
fn websocket_of(request: &mut Request<Incoming>, conn: &Connection) -> Upgrade {
    *request.method_mut() = Method::GET;
    let accept = WebSocketAccept::ask(request.headers_mut());
    upgrade_to(request, Some(accept), conn)
}

fn upgrade_to(
    request: &mut Request<Incoming>,
    accept: Option<WebSocketAccept>,
    conn: &Connection,
) -> Upgrade {
    let upgraded = hyper::upgrade::on(request);
    let client = async { upgraded.await.ok().map(|io| -> Box<dyn Duplex> { Box::new(TokioIo::new(io)) }) };
    Upgrade { client: Box::pin(client), stop: conn.shard.stop.clone(), accept, handover: Rc::default() }
}

/// A body that hyper reads.
struct FromHyper(Incoming);

impl Body for FromHyper {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(|error| error_of(&error))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn error_of(error: &hyper::Error) -> BodyError {
    use io::ErrorKind::{InvalidData, InvalidInput};

    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    // hyper's error for bad chunks.
    let misframed = io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput));
    if misframed || error.is_parse() { BodyError::BadlyFramed } else { BodyError::ClientGone }
}
