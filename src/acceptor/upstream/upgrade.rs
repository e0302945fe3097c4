//! A client's wish to change protocols.
//!
//! Never here: changing them (`tunnel`).

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::tasks::TaskGroup;

use super::access::Recording;
use crate::acceptor::wire::websocket::WebSocketAccept;

/// A client's wish to change protocols.
pub(in crate::acceptor) struct Upgrade {
    /// The client's byte stream after it has the `101`; `None` when the client left before.
    pub(in crate::acceptor) client: Upgraded,
    /// Requested when the tunnel is to end.
    pub(in crate::acceptor) stop: TaskGroup,
    /// The answer that the worker has to give, when the client opens a WebSocket over HTTP/2.
    pub(in crate::acceptor) accept: Option<WebSocketAccept>,
    pub(in crate::acceptor) handover: Rc<Handover>,
}

/// The parts that the request which opened a tunnel hands over to it.
#[derive(Default)]
pub(in crate::acceptor) struct Handover {
    /// Whether the worker has agreed to change protocols.
    pub(in crate::acceptor) agreed: Cell<bool>,
    /// The recording; there when the worker has agreed and the client's answer is made.
    pub(in crate::acceptor) recording: Cell<Option<Box<Recording>>>,
}

/// Resolves to a client's connection when it has left its protocol.
pub(in crate::acceptor) type Upgraded = Pin<Box<dyn Future<Output = Option<Box<dyn Duplex>>>>>;

/// A client's connection after it has left its protocol: bytes in both directions.
pub(in crate::acceptor) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}
