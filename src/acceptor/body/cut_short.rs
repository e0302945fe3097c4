//! Why an answer stops before its end.
//!
//! Never here: cutting it.

use std::io;

/// Why an answer stops before its end; the client sees a cut connection or a reset stream.
#[derive(Debug, thiserror::Error)]
pub(in crate::acceptor) enum CutShort {
    #[error("the worker's connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the worker sent something that is not a body: {0}")]
    Malformed(&'static str),
    #[error("the worker stopped in the middle of its answer")]
    Stalled,
    #[error("the client stopped reading")]
    ClientStalled,
    #[error("the client reads too slowly while others want what its answer keeps")]
    ClientSlow,
    #[error("the rest of the request did not come: {0}")]
    Request(&'static str),
}
