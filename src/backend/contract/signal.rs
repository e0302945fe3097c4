//! Owns the signals that a worker is sent.
//!
//! Never here: sending one.

use rustix::process::Signal as Number;

use super::exit::Killed;
use crate::spec::ReloadSignal;

/// A signal that a worker is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: finish and go.
    Terminate,
    /// SIGKILL, after a [`Signal::Terminate`] that the worker had time for: its end is then `WorkerExit::Timeout`.
    Kill,
    /// SIGKILL because the worker is over its hard memory limit: its end is then `WorkerExit::OutOfMemory`.
    OutOfMemory,
    /// Load the app anew.
    Reload(ReloadSignal),
}

impl Signal {
    /// The signal of the kernel that carries it, signal(7).
    pub(crate) fn number(self) -> Number {
        match self {
            Self::Terminate => Number::TERM,
            Self::Kill | Self::OutOfMemory => Number::KILL,
            Self::Reload(ReloadSignal::Hup) => Number::HUP,
            Self::Reload(ReloadSignal::Usr1) => Number::USR1,
            Self::Reload(ReloadSignal::Usr2) => Number::USR2,
        }
    }

    /// Why the worker is killed, if this signal kills it.
    pub(crate) fn kills(self) -> Option<Killed> {
        match self {
            Self::Kill => Some(Killed::TooSlow),
            Self::OutOfMemory => Some(Killed::ForMemory),
            Self::Terminate | Self::Reload(_) => None,
        }
    }

    /// Whether the worker is to end by this signal.
    pub(crate) fn ends(self) -> bool {
        !matches!(self, Self::Reload(_))
    }

    /// The signal's name without `SIG`, as the launcher takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Kill | Self::OutOfMemory => "KILL",
            Self::Reload(ReloadSignal::Hup) => "HUP",
            Self::Reload(ReloadSignal::Usr1) => "USR1",
            Self::Reload(ReloadSignal::Usr2) => "USR2",
        }
    }

    /// The signal that a server may have the launcher send by this name. SIGTERM is none: a unit is stopped by a job.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "KILL" => Self::Kill,
            "HUP" => Self::Reload(ReloadSignal::Hup),
            "USR1" => Self::Reload(ReloadSignal::Usr1),
            "USR2" => Self::Reload(ReloadSignal::Usr2),
            _ => return None,
        })
    }
}
