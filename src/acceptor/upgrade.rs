//! A client's wish to change protocols.
//!
//! Never here: changing them (`tunnel`).

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;

use super::access::Recording;
use super::shard::Shard;

/// A client's wish to change protocols.
pub(super) struct Upgrade {
    pub(super) client: OnUpgrade,
    pub(super) shard: Rc<Shard>,
    /// Given the record's recording when the worker agrees.
    pub(super) handover: Rc<std::cell::Cell<Option<Box<Recording>>>>,
}
