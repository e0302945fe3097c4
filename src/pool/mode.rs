//! Whether a pool takes requests.
//!
//! Never here: what is done with requests that wait.

/// Whether a pool takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Requests are taken; without a worker they wait.
    Open,
    /// Requests are taken and wait: there is no worker because nobody has asked for long, and the first request has one
    /// started.
    Resting,
    /// Requests are refused: there are no workers, and none will come by themselves.
    Closed,
}
