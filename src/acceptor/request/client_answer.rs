//! An answer as its client gets it.
//!
//! Never here: making it (`http`), or sending it.

use crate::name::RequestId;

use crate::acceptor::upstream::reply_body::Reply;

/// The answer to a request.
pub(in crate::acceptor) struct Answer {
    pub(in crate::acceptor) response: Reply,
    /// The `X-Request-Id` to be sent, whatever the answer says itself.
    pub(in crate::acceptor) id: RequestId,
}
