//! A request as a front protocol brings it, the same for all of them.
//!
//! Never here: reading one (`downstream`), or answering it (`http`).

use http::request::Parts;

use crate::acceptor::body::client_body::ClientBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::upstream::upgrade::Upgrade;

/// A request whose head is complete. The facts that hold for all requests of its connection are in
/// [`Connection`](crate::acceptor::thread::shard::Connection).
pub(in crate::acceptor) struct ClientRequest<'a> {
    /// The head; its `version` is the protocol that the client speaks.
    pub(in crate::acceptor) parts: &'a Parts,
    /// The body; `None`: the request ends with its head.
    pub(in crate::acceptor) body: Option<ClientBody>,
    /// The client's wish to change protocols, when it is one that can be granted.
    pub(in crate::acceptor) upgrade: Option<Upgrade>,
    /// Why the request is refused, whatever it asks for: two programs could disagree about where it ends, or it wants
    /// what no app has.
    pub(in crate::acceptor) refused: Option<ServeError>,
}

impl<'a> ClientRequest<'a> {
    /// A request without a body.
    pub(in crate::acceptor) fn of_head(parts: &'a Parts) -> Self {
        Self { parts, body: None, upgrade: None, refused: None }
    }
}
