//! A request's body as it comes from its client, whichever protocol brings it.
//!
//! A front protocol (`downstream`) makes a body of what it reads. Never here: reading it off a connection, or keeping
//! it (`request_body`).

use bytes::Bytes;
use http_body::Body;

use crate::acceptor::error::ServeError;

/// Data and trailers as they arrive. Dropping it tells the connection that nobody wants the rest.
pub(in crate::acceptor) type ClientBody = Box<dyn Body<Data = Bytes, Error = BodyError> + Unpin>;

/// Why a body ends before all of it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::acceptor) enum BodyError {
    /// The bytes do not follow the protocol's rules for a body.
    #[error("the body is badly framed")]
    BadlyFramed,
    /// The client closed the connection, or reset the stream.
    #[error("the client left in the middle of the body")]
    ClientGone,
}

impl From<BodyError> for ServeError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::BadlyFramed => Self::Malformed("its body is badly framed"),
            BodyError::ClientGone => Self::ClientGone,
        }
    }
}
