//! Owns finding out who a request is from, where the app's settings want to know.
//!
//! Never here: whether a password is right (`access`), or what the worker is told of it (`worker_target`).

use std::rc::Rc;

use http::request::Parts;

use crate::name::RequestId;
use crate::spec::auth::{Auth, AuthProgram};

use super::asked_app;
use super::reply;
use super::route::Host;
use crate::acceptor::access::forward_auth::{AskedRequest, AuthAnswer};
use crate::acceptor::access::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::upstream::access::Recording;
use crate::acceptor::upstream::reply_body::Reply;

/// Whether a request goes further.
pub(super) enum AuthOutcome {
    /// The request goes on, from this person.
    Known(Box<Identity>),
    /// The request goes no further, and the client gets this answer.
    Answered(Reply),
}

/// Finds out who a request is from. Cancel-safe.
///
/// # Errors
/// Why the request goes no further.
pub(super) async fn identify(
    conn: &Rc<Connection>,
    parts: &Parts,
    (client, host, id): (&RequestClient<'_>, &Host<'_>, &RequestId),
    auth: &Auth,
    recording: &mut Recording,
) -> Result<AuthOutcome, ServeError> {
    let server = &conn.shard.server;
    let identity = match auth {
        Auth::Off => return Err(ServeError::AuthFailed("nobody is to be asked")),
        Auth::Passwords(auth) => {
            Identity::of_user(&server.passwords.user(auth, &parts.headers, client.share).await?)
        }
        Auth::Forward(auth) => {
            let told = client.told.as_deref();
            let asked = AskedRequest {
                method: &parts.method,
                uri: &parts.uri,
                headers: &parts.headers,
                proto: told.and_then(|told| told.proto).unwrap_or(conn.scheme()),
                host: told.and_then(|told| told.host.as_deref()).unwrap_or(host.authority),
                forwarded_for: &client.forwarded_for,
                id,
                client: client.share,
            };
            let answer = match &auth.program {
                AuthProgram::At(program) => server.auth_calls.ask(auth, program, asked).await?,
                AuthProgram::App(app) => {
                    Box::pin(asked_app::ask(conn, (auth, app), asked, (client, host))).await?
                }
            };
            match answer {
                AuthAnswer::Passes(identity) => identity,
                AuthAnswer::Instead { status, headers, body } => {
                    let mut reply = reply::plain(status, reply::TEXT, body);
                    reply.headers_mut().extend(headers);
                    return Ok(AuthOutcome::Answered(reply));
                }
            }
        }
    };
    recording.note_user(identity.user.as_deref());
    Ok(AuthOutcome::Known(Box::new(identity)))
}
