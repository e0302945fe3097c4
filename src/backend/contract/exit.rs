//! Owns how a worker ended, and why the server killed it where it did.
//!
//! Never here: finding out how a worker ended, or killing one.

use std::fmt;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// The worker exited with this status.
    Status(i32),
    /// The worker exited with status 0 while processes that it had started went on, as a daemon begins.
    Background,
    /// The worker was killed by this signal.
    Signal(i32),
    /// The worker was killed for its memory: by the kernel, or by [`Signal::OutOfMemory`](super::Signal::OutOfMemory)
    /// where the kernel holds no limit.
    OutOfMemory,
    /// The worker was killed because it took too long, above all to end.
    Timeout,
    /// The worker was killed by its unit's watchdog, where an admin's drop-in gives it one.
    Watchdog,
    /// Nobody saw the end: systemd could not be asked at that time.
    Unseen,
}

impl WorkerExit {
    /// A stable word for metrics: `exit`, `signal`, `oom`, `timeout`, `watchdog`, `unseen`.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Status(_) | Self::Background => "exit",
            Self::Signal(_) => "signal",
            Self::OutOfMemory => "oom",
            Self::Timeout => "timeout",
            Self::Watchdog => "watchdog",
            Self::Unseen => "unseen",
        }
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Background => f.write_str("went into the background: run it in the foreground"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("ran out of memory"),
            Self::Timeout => f.write_str("was killed for taking too long"),
            Self::Watchdog => f.write_str("was killed by its watchdog"),
            Self::Unseen => f.write_str("ended while systemd could not be asked"),
        }
    }
}

/// Why a worker was sent SIGKILL by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killed {
    /// The worker had SIGTERM, and time to end.
    TooSlow,
    /// The worker was over its hard memory limit.
    ForMemory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_sentences_and_as_words() {
        for (exit, sentence, word) in [
            (WorkerExit::Status(3), "exited with status 3", "exit"),
            (WorkerExit::Background, "went into the background: run it in the foreground", "exit"),
            (WorkerExit::Signal(9), "was killed by signal 9", "signal"),
            (WorkerExit::OutOfMemory, "ran out of memory", "oom"),
            (WorkerExit::Timeout, "was killed for taking too long", "timeout"),
            (WorkerExit::Watchdog, "was killed by its watchdog", "watchdog"),
        ] {
            assert_eq!((exit.to_string().as_str(), exit.cause()), (sentence, word));
        }
    }
}
