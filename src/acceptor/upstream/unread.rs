//! Streamed bodies over HTTP/2 whose beginnings lie unread at the server while their requests wait.
//!
//! Nobody reads such a body before a worker has its request, and the client fills the body's window meanwhile. Never
//! here: how large a window is (`windows`).

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::budget::Reservation;
use crate::pool::ClaimError;

use super::outgoing::Outgoing;
use crate::acceptor::body::request_body::RequestBody;
use crate::acceptor::error::ServeError;
use crate::acceptor::thread::shard::Connection;
use crate::acceptor::thread::windows::Windows;

/// How many bytes of a body may lie unread: over HTTP/2 as many as its stream's window has.
pub(in crate::acceptor) fn of(conn: &Connection, body: &RequestBody) -> u64 {
    match body {
        RequestBody::Streaming(_, length) if conn.state.is_http2() => {
            let window = Windows::of(conn.shard.server.limits.h2_streams).stream.into();
            length.map_or(window, |length| length.min(window))
        }
        _ => 0,
    }
}

impl Outgoing<'_> {
    /// Reserves the memory that the request's body may take while the request waits.
    ///
    /// # Errors
    /// [`ServeError::UnreadFull`] when too much lies unread already, of all clients or of this one.
    pub(in crate::acceptor) fn lie_unread(&self) -> Result<Option<Reservation>, ServeError> {
        if self.unread == 0 {
            return Ok(None);
        }
        let server = &self.upstreams.server;
        let mut lies = server.unread.reserve(self.client);
        if lies.grow_to(self.unread) { Ok(Some(lies)) } else { Err(ServeError::UnreadFull) }
    }

    /// Waits for the claim. Unread bytes are counted while the request has to wait for its worker.
    ///
    /// # Errors
    /// [`Unclaimed`] when too much lies unread already, or as the claim fails.
    pub(in crate::acceptor) async fn waiting<T>(
        &self,
        claim: impl Future<Output = Result<T, ClaimError>>,
    ) -> Result<T, Unclaimed> {
        let mut claim = pin!(claim);
        if let Poll::Ready(at_once) = poll_fn(|cx| Poll::Ready(claim.as_mut().poll(cx))).await {
            return at_once.map_err(Unclaimed::Pool);
        }
        let _lies = self.lie_unread().map_err(|_| Unclaimed::Unread)?;
        claim.await.map_err(Unclaimed::Pool)
    }
}

/// Why a request has no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acceptor) enum Unclaimed {
    Pool(ClaimError),
    /// The request's body would lie unread beside too many others.
    Unread,
}

impl From<ClaimError> for Unclaimed {
    fn from(error: ClaimError) -> Self {
        Self::Pool(error)
    }
}

/// The most bytes that may lie unread in all.
pub(in crate::acceptor) const MOST_UNREAD: u64 = 128 << 20;
