//! Owns the failures between a request and its worker's answer.
//!
//! Never here: the consequences of a failure (`forward`).

use std::io;

use crate::acceptor::error::ServeError;

pub(in crate::acceptor) enum ExchangeError {
    Late,
    Worker(io::Error),
    /// The worker's connection was closed, or had bytes on it, before the worker took a byte of the request.
    Unsent(io::Error),
    BadAnswer(&'static str),
    /// Bytes that are no answer came over a kept connection: the worker sent them behind its last answer.
    Stray,
    Client(ServeError),
}

impl ExchangeError {
    /// Whether the worker has sent bytes that belong to no answer.
    pub(in crate::acceptor) fn is_stray(&self) -> bool {
        match self {
            Self::Stray => true,
            Self::Unsent(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Late | Self::Worker(_) | Self::BadAnswer(_) | Self::Client(_) => false,
        }
    }
}
