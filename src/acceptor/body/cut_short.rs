//! Why an answer stops before its end.
//!
//! Never here: cutting it.

use std::io;

use crate::fastcgi::records::BadRecord;

/// Why an answer stops before its end; the client sees a cut connection or a reset stream.
#[derive(Debug, thiserror::Error)]
pub(in crate::acceptor) enum CutShort {
    #[error("the worker's connection broke: {0}")]
    Io(#[source] io::Error),
    #[error("a file could not be read to its end: {0}")]
    File(#[source] io::Error),
    #[error("it could not be compressed: {0}")]
    Compression(#[source] io::Error),
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

/// The reason of an error that ended the reading from a worker.
impl From<io::Error> for CutShort {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<BadRecord>()) {
            Some(bad) => Self::Malformed(bad.0),
            None => Self::Io(error),
        }
    }
}
