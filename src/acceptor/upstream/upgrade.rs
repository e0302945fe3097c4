//! A client's wish to change protocols.
//!
//! Never here: changing them (`tunnel`).

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;

use super::access::Recording;
use crate::acceptor::thread::shard::Shard;

/// A client's wish to change protocols.
pub(in crate::acceptor) struct Upgrade {
    pub(in crate::acceptor) client: OnUpgrade,
    pub(in crate::acceptor) shard: Rc<Shard>,
    /// Given the record's recording when the worker agrees.
    pub(in crate::acceptor) handover: Rc<std::cell::Cell<Option<Box<Recording>>>>,
}
