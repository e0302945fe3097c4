//! Owns why the data path gave a worker up.
//!
//! Never here: what happens to the worker.

/// Why the data path gave a worker up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerFault {
    /// The worker did not answer within the request's time limit.
    TooSlow,
    /// The worker stopped in the middle of an answer.
    Stalled,
    /// The worker could not be connected to.
    Unreachable,
}
