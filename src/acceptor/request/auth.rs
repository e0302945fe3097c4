//! Owns asking who a request is from, where the app's settings want to know.
//!
//! Never here: whether a password is right (`access`), or what the worker is told of it (`worker_target`).

use std::rc::Rc;

use http::request::Parts;

use crate::spec::auth::Auth;

use crate::acceptor::access::identity::Identity;
use crate::acceptor::error::ServeError;
use crate::acceptor::peer::RequestClient;
use crate::acceptor::thread::shard::Connection;

/// Finds out who asks. Cancel-safe.
///
/// # Errors
/// Why the request goes no further.
pub(super) async fn identify(
    conn: &Rc<Connection>,
    parts: &Parts,
    client: &RequestClient<'_>,
    auth: &Auth,
) -> Result<Box<Identity>, ServeError> {
    let Auth::Passwords(auth) = auth else { return Err(ServeError::AuthFailed("nobody is to be asked")) };
    let user = conn.shard.server.passwords.user(auth, &parts.headers, client.share).await?;
    Ok(Box::new(Identity::of_user(&user)))
}
