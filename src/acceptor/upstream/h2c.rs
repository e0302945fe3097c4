//! Connections to workers that speak HTTP/2 without TLS, and one request over a stream of theirs.
//!
//! Never here: what becomes of the answer (`exchange/h2c`).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::name::WorkerId;
use crate::pool::{Lease, Member};
use crate::time::{LazyDeadline, timer};

use super::outgoing::Outgoing;
use super::reply_body::{Reply, ReplyBody};
use super::upgrade::{Duplex, Upgraded};
use super::upstream_conn::UpstreamConn;
use super::worker_head::MAX_HEAD;
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::body::upload_clock::UploadClock;
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::h2c_body::{Passed, pass};
use crate::acceptor::thread::h2c_channels::{Channel, OutBody};
use crate::acceptor::thread::on_thread::OnThread;
use crate::acceptor::thread::upstreams::Upstreams;
use crate::acceptor::thread::windows::Windows;
use crate::acceptor::wire::headers::{Named, has_token};

/// The body of a worker's answer as its connection brings it.
pub(in crate::acceptor) type AnswerBody = Incoming;

/// Why there is no answer.
enum Unanswered {
    /// The worker has not looked at the request, and got nothing of its body.
    Unseen(hyper::Error),
    Not(ServeError),
}

/// Sends the request and waits for the answer's head. When the connection ends before the worker has looked at the
/// request, the request is sent once more over a new connection.
///
/// # Errors
/// As with HTTP/1.1 workers. Dropping the future resets the stream.
pub(in crate::acceptor) async fn answered(
    request: &mut Outgoing<'_>,
    lease: &Lease,
) -> Result<Asked, ServeError> {
    let mut asked = ask(request, lease).await;
    if let Err(Unanswered::Unseen(_)) = asked {
        asked = ask(request, lease).await;
    }
    asked.map_err(|why| match why {
        Unanswered::Not(error) => error,
        Unanswered::Unseen(error) => died(lease.member().worker, error),
    })
}

/// The head of an answer, and its request, whose body may still come.
pub(in crate::acceptor) struct Asked {
    pub(in crate::acceptor) answer: Response<AnswerBody>,
    /// Whether the worker was asked for a WebSocket, which 200 opens.
    pub(in crate::acceptor) websocket: bool,
    pub(in crate::acceptor) upload_clock: UploadClock,
    pub(in crate::acceptor) passed: Option<Passed>,
}

/// Sends the request and waits for the answer's head. When no answer comes, the request gets the rest of its body back.
async fn ask(request: &mut Outgoing<'_>, lease: &Lease) -> Result<Asked, Unanswered> {
    let worker = lease.member().worker;
    let timeouts = &request.rules.timeouts;
    let mut channel = channel(request.upstreams, lease, timeouts.connect)
        .await
        .map_err(|source| Unanswered::Not(ServeError::Unreachable { worker, source }))?;
    let mut outgoing = outgoing(request).map_err(Unanswered::Not)?;
    let websocket = is_websocket(request) && Box::pin(takes_websockets(&channel)).await;
    if websocket {
        *outgoing.method_mut() = Method::CONNECT;
        outgoing.extensions_mut().insert(Protocol::from_static("websocket"));
        outgoing.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
    let upload_clock = UploadClock::of_worker(Instant::now());
    let mut passed = None;
    let mut length = None;
    // No body is collected for these workers: any other kind is empty.
    if let RequestBody::Streaming(..) = request.body
        && let RequestBody::Streaming(incoming, announced) =
            std::mem::replace(&mut request.body, RequestBody::PassedOn)
    {
        let limits = (request.upstreams.server.limits.body_idle, request.rules.max_body);
        let (passing, end) = pass(incoming, upload_clock.clone(), limits, request.courtesy());
        *outgoing.body_mut() = Either::Left(passing);
        (passed, length) = (Some(end), announced);
    }
    let sent = channel.requests.try_send_request(outgoing);
    let answer = upload_clock.within(&mut LazyDeadline::new(), timeouts.request, sent).await;
    if let Ok(Ok(answer)) = answer {
        channel.answered.set(true);
        return Ok(Asked { answer, websocket, upload_clock, passed });
    }
    let begun = passed.as_ref().is_some_and(Passed::has_begun);
    let fault = passed.as_ref().and_then(Passed::take_fault);
    if let Some(rest) = passed.as_ref().and_then(Passed::stop) {
        request.body = RequestBody::Streaming(rest, length);
    }
    let Ok(Err(mut failed)) = answer else {
        lease.overdue();
        return Err(Unanswered::Not(ServeError::WorkerTimeout { worker }));
    };
    if let Some(fault) = fault {
        return Err(Unanswered::Not(fault));
    }
    request.upstreams.channels.open.borrow_mut().remove(&worker);
    let unsent = failed.take_message().is_some();
    let error = failed.into_error();
    match !begun && (unsent || is_unseen(&error)) {
        true => Err(Unanswered::Unseen(error)),
        false => Err(Unanswered::Not(died(worker, error))),
    }
}

/// Splits the 200 that opens a WebSocket: the head for the client, and the worker's side of the tunnel.
pub(in crate::acceptor) fn opened(mut answer: Response<AnswerBody>) -> (Reply, Upgraded) {
    let upgraded = hyper::upgrade::on(&mut answer);
    let worker = async { upgraded.await.ok().map(|io| -> Box<dyn Duplex> { Box::new(TokioIo::new(io)) }) };
    (Box::new(answer.map(|_| ReplyBody::full(Bytes::new()))), Box::pin(worker))
}

/// Whether the request asks for a WebSocket, as RFC 6455 §4.1 has it.
fn is_websocket(request: &Outgoing<'_>) -> bool {
    let protocol = request.head.upgrade.filter(|_| request.upgrade.is_some());
    protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && *request.head.method == Method::GET
        && request.head.headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && matches!(request.body, RequestBody::Empty)
}

/// Whether the worker's settings let clients open WebSockets (RFC 8441 §3). On a new connection they are waited for:
/// they are the first thing that a worker sends (RFC 9113 §3.4).
async fn takes_websockets(channel: &Channel) -> bool {
    let given_up = Instant::now() + SETTINGS_WITHIN;
    let mut looks = timer::interval(SETTINGS_CHECK);
    loop {
        if (channel.takes_websockets)() {
            return true;
        }
        if channel.answered.get() || channel.requests.is_closed() || Instant::now() > given_up {
            return false;
        }
        looks.tick().await;
    }
}

fn died(worker: WorkerId, error: hyper::Error) -> ServeError {
    ServeError::WorkerDied { worker, cause: None, source: io::Error::other(error) }
}

/// Whether the worker says that it has not acted on the stream (RFC 9113 §8.7): the stream was refused, or lies behind
/// the last one that the worker's GOAWAY names.
fn is_unseen(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

async fn channel(upstreams: &Rc<Upstreams>, lease: &Lease, limit: Duration) -> io::Result<Channel> {
    let worker = lease.member().worker;
    if let Some(open) =
        upstreams.channels.open.borrow().get(&worker).filter(|open| !open.requests.is_closed())
    {
        return Ok(open.clone());
    }
    let upstream = UpstreamConn::open(lease, upstreams, limit).await?;
    upstream.leave_http1();
    let member = lease.member();
    // The windows let no client that does not read its answer keep those of others from coming.
    let windows = Windows::of(member.concurrency.get().saturating_add(member.tunnels));
    let mut builder = http2::Builder::new(OnThread(upstreams.stop.clone()));
    builder
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection);
    let (requests, connection) = builder.handshake(TokioIo::new(upstream)).await.map_err(io::Error::other)?;
    let connection = Rc::new(RefCell::new(connection));
    let settings = Rc::downgrade(&connection);
    let takes_websockets = Rc::new(move || {
        settings.upgrade().is_some_and(|open| open.borrow().is_extended_connect_protocol_enabled())
    });
    let channel = Channel { requests, takes_websockets, answered: Rc::default() };
    let keeping = keep(Rc::clone(upstreams), Arc::clone(lease.member()));
    upstreams.stop.spawn_local("h2c connection", async move {
        let connection = poll_fn(|cx| Pin::new(&mut *connection.borrow_mut()).poll(cx));
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%worker, %error, "an HTTP/2 connection to a worker ended");
            },
            () = keeping => {}
        }
    });
    if !upstreams.stop.is_requested() {
        let mut open = upstreams.channels.open.borrow_mut();
        open.retain(|_, channel| !channel.requests.is_closed());
        open.insert(worker, channel.clone());
    }
    Ok(channel)
}

/// Drops a connection when its worker, or the server, gets no new requests: the connection then ends with its last
/// stream. Never returns.
async fn keep(upstreams: Rc<Upstreams>, member: Arc<Member>) {
    tokio::select! {
        () = member.retired() => {}
        () = upstreams.stop.requested() => {}
    }
    upstreams.channels.open.borrow_mut().remove(&member.worker);
    std::future::pending().await
}

fn outgoing(request: &Outgoing<'_>) -> Result<Request<OutBody>, ServeError> {
    let host = request.head.authority;
    let target = request.head.uri.path_and_query().map_or("/", |target| target.as_str());
    let uri: Uri = format!("http://{host}{target}")
        .parse()
        .map_err(|_| ServeError::Malformed("its target is not a URI"))?;
    let mut outgoing: Request<OutBody> = Request::new(Either::Right(Empty::new()));
    *outgoing.method_mut() = request.head.method.clone();
    *outgoing.uri_mut() = uri;
    let headers = outgoing.headers_mut();
    let named = Named::of(request.head.headers);
    for (name, value) in request.head.headers {
        if request.origin.lets_pass(name, &named) {
            headers.append(name.clone(), value.clone());
        }
    }
    // `trailers` is the one value that HTTP/2 allows, and gRPC requires it.
    if request.head.headers.get(header::TE).is_some_and(|te| has_token(te, "trailers")) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let origin = &request.origin;
    for (name, value) in [
        ("x-forwarded-for", origin.forwarded_for.to_owned()),
        ("x-forwarded-proto", origin.proto.to_owned()),
        ("x-forwarded-host", origin.host.to_owned()),
        ("x-forwarded-port", origin.port.to_string()),
        ("x-request-id", origin.id.to_string()),
        ("x-request-start", format!("t={}", origin.start_ms)),
    ] {
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            // Values that differ from request to request fill no place in the encoder's table (RFC 7541 §2.3.2), where
            // each new one would be compared with all of them.
            value.set_sensitive(matches!(name, "x-forwarded-for" | "x-request-id" | "x-request-start"));
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.extend(origin.client_cert.iter().chain(origin.identity).cloned());
    if let Some(prefix) = HeaderValue::from_str(origin.prefix).ok().filter(|prefix| !prefix.is_empty()) {
        headers.insert("x-forwarded-prefix", prefix);
    }
    Ok(outgoing)
}

/// The time within which the settings of a worker come that has answered its probe, and the interval of looks.
const SETTINGS_WITHIN: Duration = Duration::from_secs(1);
const SETTINGS_CHECK: Duration = Duration::from_millis(1);
