//! The connections to HTTP/2 workers that a thread has open.
//!
//! Never here: opening one, or a request over it (`h2c`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::client::conn::http2;

use crate::name::WorkerId;

use super::h2c_body::Passing;

pub(in crate::acceptor) type OutBody = Either<Passing, Empty<Bytes>>;

/// A connection to a worker.
#[derive(Clone)]
pub(in crate::acceptor) struct Channel {
    pub(in crate::acceptor) requests: http2::SendRequest<OutBody>,
    /// Says whether the worker's settings, as far as they have come, let clients open WebSockets (RFC 8441 §3).
    pub(in crate::acceptor) takes_websockets: Rc<dyn Fn() -> bool>,
    /// Whether the worker has answered a request: its settings have come before.
    pub(in crate::acceptor) answered: Rc<Cell<bool>>,
}

/// The open connections of one thread.
#[derive(Default)]
pub(in crate::acceptor) struct Channels {
    pub(in crate::acceptor) open: RefCell<HashMap<WorkerId, Channel>>,
}
