//! An answer as its client gets it.
//!
//! Never here: making it (`http`), or sending it.

use crate::name::RequestId;

use super::reply_body::Reply;

/// The answer to a request.
pub(super) struct Answer {
    pub(super) response: Reply,
    /// To be sent as its `X-Request-Id`, whatever it says itself.
    pub(super) id: RequestId,
}
