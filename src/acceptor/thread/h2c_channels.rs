//! The connections to HTTP/2 workers that a thread has open.
//!
//! Never here: opening one, or a request over it (`h2c`).

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::client::conn::http2;

use crate::name::WorkerId;

use super::h2c_body::Passing;

pub(in crate::acceptor) type OutBody = Either<Passing, Empty<Bytes>>;

pub(in crate::acceptor) type Channel = http2::SendRequest<OutBody>;

/// The open connections of one thread.
#[derive(Default)]
pub(in crate::acceptor) struct Channels {
    pub(in crate::acceptor) open: RefCell<HashMap<WorkerId, Channel>>,
}
