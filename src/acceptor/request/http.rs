//! Owns one request from its head to its answer: check, route, collect, claim, forward, reply.
//!
//! The functions here are the list of steps; each step lives in a file of its own.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body::Body;
use tokio::time::Instant;

use crate::api::HostState;
use crate::name::RequestId;
use crate::spec::auth::Auth;
use crate::spec::{Protocol, Rules};

use super::accel::NamedFile;
use super::auth::{AuthOutcome, identify};
use super::builtin;
use super::client_answer::Answer;
use super::client_request::ClientRequest;
use super::collect::{Collecting, collect, size_of_head};
use super::compress::by_settings;
use super::pause::wait_while_paused;
use super::redirect;
use super::reply;
use super::route;
use super::route::Host;
use super::scripts::{Resolved, resolve};
use super::setting_notice;
use super::sticky;
use super::worker_target::{WorkerTarget, changed_fields};
use crate::acceptor::body::client_body::ClientBody;
use crate::acceptor::body::request_body::{RequestBody, check_length, discard};
use crate::acceptor::error::ServeError;
use crate::acceptor::exchange::forward::forward;
use crate::acceptor::limit::Limit;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::reason::Blame;
use crate::acceptor::records::access_record::{Outcome, Particulars};
use crate::acceptor::thread::shard::{Connection, Role};
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::{Reply, ReplyBody};
use crate::acceptor::upstream::restraint::room_of_answer;
use crate::acceptor::upstream::unread;
use crate::acceptor::upstream::upgrade::Upgrade;
use crate::acceptor::upstream::worker_head::{Origin, RequestHead};
use crate::acceptor::wire::headers::is_bodiless;

/// Answers a request. Never fails: every failure is an answer too.
///
/// # Cancel safety
/// When the future is dropped, the client has gone: the record says so, and everything that was taken is given back.
pub(in crate::acceptor) async fn answer_to(conn: &Rc<Connection>, request: ClientRequest<'_>) -> Answer {
    let arrived = Instant::now();
    let ClientRequest { parts, mut body, mut upgrade, refused } = request;
    let client = RequestClient::of(&conn.peer, &parts.headers, &conn.shard.server.trusted);
    let id = client.told.as_ref().and_then(|told| told.id).unwrap_or_else(RequestId::random);
    let mut recording = record(conn, parts, &client, id, arrived);
    let handover = upgrade.as_ref().map(|upgrade| Rc::clone(&upgrade.handover));
    let websocket = upgrade.as_ref().is_some_and(|upgrade| upgrade.accept.is_some());
    let context = RequestContext { parts, client: &client, id: &id, arrived, time: recording.time() };
    let outcome = match refused {
        Some(error) => Err(error),
        None => answer(conn, &context, &mut body, &mut upgrade, &mut recording).await,
    };
    let tunnel = handover.filter(|handover| handover.agreed.get());
    let mut response = match outcome {
        // Over HTTP/2 a successful answer would open the WebSocket (RFC 9113 §8.5).
        Ok(response) if websocket && tunnel.is_none() && response.status().is_success() => {
            fail(&ServeError::NoWebSocket, parts.headers.get(header::ACCEPT), id, &mut recording)
        }
        Ok(response) => response,
        Err(error) => {
            if let Some(limit) = error.limit() {
                conn.shard.server.limit_log.reached_at(recording.app(), limit, client.share);
            }
            fail(&error, parts.headers.get(header::ACCEPT), id, &mut recording)
        }
    };
    if let Some(unread) = body {
        take_rest(conn, unread, &mut response);
    }
    if parts.method == Method::HEAD {
        reply::leave_head(&mut response);
    }
    finish(conn, &mut response);
    recording.note_head(response.headers());
    recording.note(|record| {
        record.status = if record.reason == Some("client-gone") { 499 } else { response.status().as_u16() };
        if reply::has_no_body(&parts.method, &response) && record.status != 499 {
            // An answer without a body is complete now: nobody will poll it, which would complete it.
            record.outcome = Outcome::Complete;
        }
    });
    match tunnel {
        Some(handover) => handover.recording.set(Some(recording)),
        None => response.body_mut().record(recording),
    }
    Answer { response, id }
}

/// A request without its body.
struct RequestContext<'a> {
    parts: &'a Parts,
    client: &'a RequestClient<'a>,
    id: &'a RequestId,
    arrived: Instant,
    /// The time of the request by the wall clock.
    time: SystemTime,
}

async fn answer(
    conn: &Rc<Connection>,
    context: &RequestContext<'_>,
    body: &mut Option<ClientBody>,
    upgrade: &mut Option<Upgrade>,
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let (parts, client) = (context.parts, context.client);
    if conn.state.is_over_share() {
        conn.shard.server.limit_log.reached(Limit::Connections, conn.state.place_of());
        return Err(ServeError::TooManyConnections);
    }
    if conn.state.is_head_refused() {
        conn.shard.server.limit_log.reached(Limit::Heads, conn.state.place_of());
        return Err(ServeError::TooManyConnections);
    }
    let mut host = route::check(parts, conn)?;
    if let Some(response) = builtin::challenge(conn, parts, &host) {
        return Ok(response);
    }
    if conn.role == Role::Redirect {
        return builtin::redirect(conn, &host, &parts.method, &parts.uri);
    }
    if let Some(response) = builtin::answer(conn, parts, &host) {
        return Ok(response);
    }
    if let Some(rate) = &conn.shard.server.rate {
        rate.check(client.address)?;
    }
    let route = route::find(&mut host, parts.uri.path(), conn)?;
    recording.belongs_to(&route.app, &host.name);
    let (mut rules, generation) = sticky::rules_for(&route.app, client.share);
    let client_cert = route::client_cert_fields(&rules.client, conn)?;
    let target = WorkerTarget::of(&parts.uri, client, &route, &rules)?;
    let of_path = rules.tables.at(target.uri().path())?.cloned();
    rules = of_path.unwrap_or(rules);
    if !rules.admits(client.address) {
        return Err(ServeError::Forbidden);
    }
    if let Some(response) = redirect::answer(parts, &route, &target, &rules)? {
        return Ok(response);
    }
    let identity = match &rules.auth {
        Auth::Off => None,
        // The future is boxed, here and below: every request would have room for the parts that few of them need.
        auth => match Box::pin(identify(conn, parts, (client, &host, context.id), auth, recording)).await? {
            AuthOutcome::Known(identity) => Some(identity),
            AuthOutcome::Answered(reply) => return Ok(reply),
        },
    };
    let script = match rules.has_files() {
        false => None,
        true => match Box::pin(resolve(&rules, parts, &target)).await {
            Resolved::Worker(script) => script,
            Resolved::Answered(mut reply) => {
                let until = context.arrived + rules.timeouts.queue;
                Box::pin(wait_while_paused(&route, client.share, until)).await?;
                if conn.is_crowded() {
                    recording.takes(Box::pin(room_of_answer(conn, client.share, until)).await?);
                }
                by_settings(
                    &conn.shard.server,
                    (&route.app.metrics, &rules),
                    parts,
                    client.share,
                    &mut reply,
                );
                return Ok(reply);
            }
        },
    };
    let bodiless = body.is_none();
    let taken = match bodiless {
        true => RequestBody::Empty,
        false => Box::pin(take_body(conn, context, target.uri().path(), body, &rules)).await?,
    };
    let ready = if bodiless { context.arrived } else { Instant::now() };
    let queue_until = ready + rules.timeouts.queue;
    if conn.is_crowded() {
        recording.takes(Box::pin(room_of_answer(conn, client.share, queue_until)).await?);
    }
    let unread = unread::of(conn, &taken);
    let fields = changed_fields(&parts.headers, &rules, identity.as_deref());
    let identity = identity.as_ref().map_or(&[][..], |identity| &identity.given);
    let origin = Origin { client_cert, identity, ..origin_of(conn, context, &host, &target) };
    let protocol = upgrade.as_ref().and_then(|_| parts.headers.get(header::UPGRADE));
    let mut outgoing = Outgoing {
        upstreams: &conn.shard.upstreams,
        client: client.share,
        app: &route.app,
        rules: &rules,
        head: RequestHead {
            method: &parts.method,
            uri: target.uri(),
            version: parts.version,
            headers: fields.as_deref().unwrap_or(&parts.headers),
            authority: host.authority,
            upgrade: protocol,
        },
        origin,
        script,
        body: taken,
        unread,
        ready,
        queue_until,
        upgrade: upgrade.take(),
        terms: sticky::terms_of(conn, &parts.headers, &route.app.name, (rules.sticky, generation)),
        resent: false,
        handed_on: false,
    };
    if route.availability.borrow().state != HostState::Running {
        let resumed = async {
            let _lies = outgoing.lie_unread()?;
            wait_while_paused(&route, client.share, queue_until).await
        };
        if let Err(error) = Box::pin(resumed).await {
            give_back(conn, outgoing.body, body);
            return Err(error);
        }
    }
    let outcome = forward(&mut outgoing, recording).await;
    give_back(conn, outgoing.body, body);
    let mut reply = outcome?;
    if !rules.accel.is_empty() {
        let file = NamedFile { accel: &rules.accel, parts, app: route.app.name.as_str(), id: context.id };
        reply = Box::pin(file.in_place_of(reply)).await?;
    }
    by_settings(&conn.shard.server, (&route.app.metrics, &rules), parts, client.share, &mut reply);
    if let Some(terms) = outgoing.terms {
        sticky::tell(conn, &terms, (&route, client, outgoing.origin.proto), &mut reply);
    }
    Ok(reply)
}

/// Puts the rest of a body back: a worker may answer before it has taken all of it.
fn give_back(conn: &Connection, rest: RequestBody, body: &mut Option<ClientBody>) {
    match rest {
        RequestBody::Streaming(incoming, _) => *body = (!incoming.is_end_stream()).then_some(incoming),
        RequestBody::PassedOn => conn.state.linger(),
        _ => {}
    }
}

/// Collects the whole body, unless it has to be passed on as it arrives. The part that was not taken stays in place for
/// the end of a failed request.
async fn take_body(
    conn: &Connection,
    context: &RequestContext<'_>,
    path: &str,
    body: &mut Option<ClientBody>,
    rules: &Rules,
) -> Result<RequestBody, ServeError> {
    let parts = context.parts;
    let Some(incoming) = body else { return Ok(RequestBody::Empty) };
    check_length(&parts.headers, rules.max_body)?;
    if rules.streams(path) {
        // Announced trailers need chunks.
        let length = incoming.size_hint().exact().filter(|_| !parts.headers.contains_key(header::TRAILER));
        // CGI's variables say how long a body is.
        if length.is_some() || rules.protocol != Protocol::FastCgi {
            return Ok(body
                .take()
                .map_or(RequestBody::Empty, |incoming| RequestBody::Streaming(incoming, length)));
        }
    }
    let how = Collecting {
        server: &conn.shard.server,
        max_body: rules.max_body,
        head: if conn.state.is_http2() { size_of_head(parts) } else { 0 },
        client: context.client.share,
        buffers: &conn.shard.upstreams.buffers,
    };
    let collected = collect(incoming, how).await?;
    *body = None;
    Ok(collected)
}

fn origin_of<'a>(
    conn: &Connection,
    context: &'a RequestContext<'_>,
    host: &'a Host<'_>,
    target: &'a WorkerTarget<'_>,
) -> Origin<'a> {
    let RequestContext { client, id, time, .. } = context;
    let told = client.told.as_deref();
    Origin {
        forwarded_for: &client.forwarded_for,
        proto: told.and_then(|told| told.proto).unwrap_or(conn.scheme()),
        host: told.and_then(|told| told.host.as_deref()).unwrap_or(host.authority),
        port: told.and_then(|told| told.port).unwrap_or(conn.local.port()),
        prefix: target.prefix(),
        id,
        start_ms: time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        client: client.address,
        trusted: told.is_some(),
        client_cert: &[],
        identity: &[],
    }
}

fn fail(error: &ServeError, accept: Option<&HeaderValue>, id: RequestId, recording: &mut Recording) -> Reply {
    let reason = error.reason();
    recording.refused(reason.word);
    setting_notice::log(error, recording.app());
    if reason.blame != Blame::Client {
        let source = std::error::Error::source(error).map(ToString::to_string);
        tracing::debug!(request_id = %id, reason = reason.word, source, "{error}");
    }
    reply::failure(error, accept, &id, recording.pages().as_deref())
}

/// Takes in the rest of a body whose answer came before its end: a reset would make the client lose the answer.
fn take_rest(conn: &Connection, unread: ClientBody, response: &mut Response<ReplyBody>) {
    if conn.state.is_http2() {
        conn.shard.stop.spawn_local("unread body", discard(unread));
    } else {
        conn.state.linger();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Adds what every answer carries besides its id.
fn finish(conn: &Connection, response: &mut Response<ReplyBody>) {
    let status = response.status();
    let last = conn.shard.stop.is_requested() && status != StatusCode::SWITCHING_PROTOCOLS;
    let headers: &mut HeaderMap = response.headers_mut();
    if is_bodiless(status) {
        // Clients of HTTP/2 refuse a stream that announces a body and has none.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
    }
    if conn.state.is_http2() {
        headers.remove(header::CONNECTION);
    } else if last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let (Role::Https, Some(hsts)) = (conn.role, &conn.shard.own_answers.hsts) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

fn record(
    conn: &Rc<Connection>,
    parts: &Parts,
    client: &RequestClient<'_>,
    id: RequestId,
    arrived: Instant,
) -> Box<Recording> {
    Recording::begin(Rc::clone(conn), arrived, || Particulars {
        method: Method::clone(&parts.method),
        uri: Uri::clone(&parts.uri),
        version: parts.version,
        ..Particulars::blank(id, client.address)
    })
}

/// Writes the record of a request whose head never was complete; status 499: because its client left.
pub(in crate::acceptor) fn record_unread(conn: &Rc<Connection>, status: u16, reason: &'static str) {
    let particulars = || Particulars {
        method: Method::from_bytes(b"-").unwrap_or_default(),
        ..Particulars::blank(RequestId::random(), conn.peer.address)
    };
    Recording::begin(Rc::clone(conn), Instant::now(), particulars).note(|record| {
        record.status = status;
        record.reason = Some(reason);
        record.outcome = if status == 499 { Outcome::ClientGone } else { Outcome::Complete };
    });
}
