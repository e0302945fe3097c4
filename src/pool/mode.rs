//! Whether a pool takes requests.
//!
//! Never here: what is done with those that wait.

/// Whether a pool takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does; with no worker they wait.
    Open,
    /// It refuses them: there are no workers and none will come by themselves.
    Closed,
}
