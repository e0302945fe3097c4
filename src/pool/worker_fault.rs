//! Owns why the data path gave a worker up.
//!
//! Never here: what becomes of the worker.

/// Why the data path gave a worker up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFault {
    /// It did not answer within the request's time limit.
    TooSlow,
    /// It stopped in the middle of an answer.
    Stalled,
    /// It could not be connected to.
    Unreachable,
}
