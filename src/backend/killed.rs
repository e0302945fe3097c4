//! Why the server killed a worker. Never here: killing one, or what its end is called.

/// Why a worker was sent SIGKILL by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Killed {
    /// It had SIGTERM, and time.
    TooSlow,
    /// It was over its hard memory limit.
    ForMemory,
}
