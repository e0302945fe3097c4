//! A client's wish to change protocols.
//!
//! Never here: changing them (`tunnel`).

use std::pin::Pin;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::tasks::TaskGroup;

use super::access::Recording;

/// A client's wish to change protocols.
pub(in crate::acceptor) struct Upgrade {
    /// The client's bytes once it has the `101`; `None` when it left before that.
    pub(in crate::acceptor) client: Upgraded,
    /// Requested when the tunnel is to end.
    pub(in crate::acceptor) stop: TaskGroup,
    /// Given the record's recording when the worker agrees.
    pub(in crate::acceptor) handover: Rc<std::cell::Cell<Option<Box<Recording>>>>,
}

/// Waits until a client's connection has left its protocol.
pub(in crate::acceptor) type Upgraded = Pin<Box<dyn Future<Output = Option<Box<dyn Duplex>>>>>;

/// A client's connection after it has left its protocol: bytes in both directions.
pub(in crate::acceptor) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}
