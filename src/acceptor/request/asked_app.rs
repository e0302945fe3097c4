//! Owns asking one app of this server about a request for another app: by a request of the server's own, through the
//! asked app's queue to one of its workers, without a connection of the server to itself.
//!
//! Never here: the fields of the question, or the meaning of the answer (`access/forward_auth`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::request::Parts;
use http::{Method, Request, Uri, Version};
use tokio::time::Instant;

use crate::directory::App;
use crate::name::AppName;
use crate::spec::auth::ForwardAuth;

use super::route::Host;
use super::scripts::{Resolved, resolve};
use super::worker_target::{WorkerTarget, changed_fields};
use crate::acceptor::access::forward_auth::{AskedRequest, AuthAnswer};
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::exchange::forward::forward;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::records::access_record::Particulars;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::outgoing::Outgoing;
use crate::acceptor::upstream::reply_body::Reply;
use crate::acceptor::upstream::worker_head::{Origin, RequestHead};

/// Asks the app of that name. The asked app's settings for clients (`auth`, `allow`, redirects, a pause) do not hold
/// for the question, because no client makes it; the app's time limits and its queue do.
///
/// # Errors
/// [`ServeError::AuthFailed`] when there is no such app, it does not answer, or answers something else than is meant.
///
/// # Cancel safety
/// Safe: the worker that has the question finishes it, and the answer is dropped.
pub(super) async fn ask(
    conn: &Rc<Connection>,
    (auth, name): (&ForwardAuth, &AppName),
    asked: AskedRequest<'_>,
    (client, host): (&RequestClient<'_>, &Host<'_>),
) -> Result<AuthAnswer, ServeError> {
    let app = conn.shard.directory.app(name);
    let app = app.ok_or(ServeError::AuthFailed("the app that `auth` names is not there"))?;
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from(auth.path.clone());
    *request.headers_mut() = asked.fields(auth);
    let (parts, ()) = request.into_parts();
    let mut recording = Recording::beside(Rc::clone(conn), Instant::now(), || Particulars {
        uri: parts.uri.clone(),
        ..Particulars::blank(*asked.id, client.address)
    });
    recording.belongs_to(&app, &host.name);
    let reply = match answer(conn, &app, &parts, (&asked, client, host), &mut recording).await {
        Ok(reply) => reply,
        Err(error) => {
            let reason = error.reason();
            recording.refused(reason.word);
            recording.note(|record| record.status = reason.status.as_u16());
            recording.sent(0, true);
            tracing::debug!(app = %app.name, request_id = %asked.id, reason = reason.word, "asked in vain: {error}");
            return Err(ServeError::AuthFailed(match reason.word {
                "queue-full" | "queue-timeout" => "no worker of the app that is asked is free in time",
                "no-worker" => "the app that is asked has no worker",
                "worker-timeout" => "the app that is asked does not answer in time",
                _ => "the app that is asked fails itself",
            }));
        }
    };
    let (head, body) = (*reply).into_parts();
    recording.note_head(&head.headers);
    recording.note(|record| record.status = head.status.as_u16());
    let answer = AuthAnswer::of(auth, head.status, &head.headers, body).await;
    recording.sent(if let Ok(AuthAnswer::Instead { body, .. }) = &answer { body.len() } else { 0 }, true);
    answer
}

/// The app's answer to the server's own request.
async fn answer(
    conn: &Rc<Connection>,
    app: &Arc<App>,
    parts: &Parts,
    (asked, client, host): (&AskedRequest<'_>, &RequestClient<'_>, &Host<'_>),
    recording: &mut Recording,
) -> Result<Reply, ServeError> {
    let mut rules = app.rules.load_full();
    let of_path = rules.tables.at(parts.uri.path())?.cloned();
    rules = of_path.unwrap_or(rules);
    let target = WorkerTarget::plain(&parts.uri);
    let script = match rules.has_files() {
        false => None,
        true => match resolve(&rules, parts, &target).await {
            Resolved::Worker(script) => script,
            Resolved::Answered(reply) => return Ok(reply),
        },
    };
    let fields = changed_fields(&parts.headers, &rules, None);
    let (told, ready) = (asked.told()?, Instant::now());
    let start_ms = recording.time().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut outgoing = Outgoing {
        upstreams: &conn.shard.upstreams,
        client: client.share,
        app,
        rules: &rules,
        head: RequestHead {
            method: &Method::GET,
            uri: &parts.uri,
            version: Version::HTTP_11,
            headers: fields.as_deref().unwrap_or(&parts.headers),
            authority: host.authority,
            upgrade: None,
        },
        origin: Origin {
            forwarded_for: asked.forwarded_for,
            proto: asked.proto,
            host: asked.host,
            port: client.told.as_ref().and_then(|told| told.port).unwrap_or(conn.local.port()),
            prefix: "",
            id: asked.id,
            start_ms,
            client: client.address,
            trusted: false,
            client_cert: &[],
            identity: &told,
        },
        script,
        body: RequestBody::Empty,
        unread: 0,
        ready,
        queue_until: ready + rules.timeouts.queue,
        upgrade: None,
        terms: None,
        resent: false,
        handed_on: false,
    };
    forward(&mut outgoing, recording).await
}
