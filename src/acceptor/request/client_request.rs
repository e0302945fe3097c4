//! A request as a front protocol brings it, the same for all of them.
//!
//! Never here: reading one (`downstream`), or answering it (`http`).

use http::request::Parts;

use crate::acceptor::body::client_body::ClientBody;
use crate::acceptor::upstream::upgrade::Upgrade;
use crate::acceptor::wire::framing::FramingError;

/// A request whose head is complete. What holds for all requests of its connection is in
/// [`Connection`](crate::acceptor::thread::shard::Connection).
pub(in crate::acceptor) struct ClientRequest<'a> {
    /// `version` is the protocol that the client speaks.
    pub(in crate::acceptor) parts: &'a Parts,
    /// `None`: the request ends with its head.
    pub(in crate::acceptor) body: Option<ClientBody>,
    /// There when the client wants to change protocols, and may.
    pub(in crate::acceptor) upgrade: Option<Upgrade>,
    /// Two programs could disagree about where the request ends: it is refused.
    pub(in crate::acceptor) framing_error: Option<FramingError>,
}

impl<'a> ClientRequest<'a> {
    /// A request that is its head alone.
    pub(in crate::acceptor) fn of_head(parts: &'a Parts) -> Self {
        Self { parts, body: None, upgrade: None, framing_error: None }
    }
}
