//! Owns how a verb can end: the exit codes, and what a person or a program is told when it went wrong.
//!
//! Never here: printing it.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use crate::api::{ErrorAnswer, ErrorText};

/// How a verb ended, as the exit code says it. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The verb was done.
    Ok,
    /// The verb was not done.
    Failed,
    /// The words are wrong.
    Usage,
    /// An app has no worker ready.
    Degraded,
    /// There is no such host or app.
    NoSuch,
    /// The caller has no permission, or the verb conflicts with what the server is doing.
    Refused,
    /// The config, or the server's config file, is not valid.
    Config,
    /// No server answers.
    Unreachable,
    /// The server took too long.
    TimedOut,
    /// A command was run, and ended with this code.
    Command(u8),
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Degraded => 3,
            Self::NoSuch => 4,
            Self::Refused => 5,
            Self::Config => 6,
            Self::Unreachable => 7,
            Self::TimedOut => 8,
            Self::Command(code) => code,
        }
    }

    /// The exit code for an error's code. Codes that only a newer server knows are plain failures.
    fn of(code: &str) -> Self {
        match code {
            "no-such-host" | "no-such-app" | "no-such-timer" => Self::NoSuch,
            "bad-request" | "usage" => Self::Usage,
            "bad-config" => Self::Config,
            "conflict" | "forbidden" | "stopping" => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Why a verb was not done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CtlError {
    pub(super) exit: Exit,
    pub(super) text: ErrorText,
}

impl CtlError {
    pub(super) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, text: ErrorText { code: code.into(), message: message.into(), hint: None } }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.text.hint = Some(hint.into());
        self
    }

    /// The error that the server answered.
    pub(super) fn answered(failure: ErrorAnswer) -> Self {
        Self { exit: Exit::of(&failure.error.code), text: failure.error }
    }

    /// The error of a socket that could not be connected to.
    pub(super) fn connecting(socket: &Path, error: &io::Error) -> Self {
        let socket = socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::new(
                Exit::Refused,
                "forbidden",
                format!("no permission to use the control socket {socket}"),
            )
            .hint("use sudo, or become a member of the group that owns the socket"),
            io::ErrorKind::ConnectionRefused => {
                Self::unreachable(format!("no server answers on {socket}: the one that made it is gone"))
            }
            io::ErrorKind::NotFound => Self::unreachable(format!("there is no control socket {socket}")),
            _ => Self::unreachable(format!("cannot connect to {socket}: {error}")),
        }
    }

    fn unreachable(message: String) -> Self {
        Self::new(Exit::Unreachable, "unreachable", message).hint(HOW_TO_START)
    }

    /// The error of waiting too long for the server.
    fn late(what: &str, limit: Duration) -> Self {
        let message = format!("{what} took longer than {} s", limit.as_secs());
        Self::new(Exit::TimedOut, "timed-out", message).hint("--timeout SECS waits longer")
    }

    /// Waits for `work` for at most `limit`; `None`: without a limit.
    pub(super) async fn unless_within<T>(
        limit: Option<Duration>,
        what: &str,
        work: impl Future<Output = Result<T, Self>>,
    ) -> Result<T, Self> {
        match limit {
            Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(Self::late(what, limit))),
            None => work.await,
        }
    }

    /// The error of a connection that ended, or brought something that is no answer.
    pub(super) fn garbled(why: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failed, "bad-answer", format!("the server's answer cannot be used: {why}"))
            .hint("the server's log says more; `rip-serverctl version` tells whether it is another version")
    }

    /// The error of a local file that could not be used.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::Failed, "bad-file", format!("cannot use {}: {error}", path.display()))
    }

    /// The error as the socket and `--json` write it.
    pub(super) fn failure(&self) -> ErrorAnswer {
        ErrorAnswer { ok: false, error: self.text.clone() }
    }
}

pub(super) const HOW_TO_START: &str = "start one with `rip-server APP`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_codes_become_exit_codes() {
        for (code, exit) in [
            ("no-such-host", 4),
            ("no-such-app", 4),
            ("conflict", 5),
            ("stopping", 5),
            ("bad-request", 2),
            ("rejected", 1),
            ("bad-config", 6),
            ("internal", 1),
            ("of a newer server", 1),
        ] {
            let error = ErrorText { code: code.into(), message: String::new(), hint: None };
            assert_eq!(CtlError::answered(ErrorAnswer { ok: false, error }).exit.code(), exit, "{code}");
        }
    }

    #[test]
    fn a_socket_that_cannot_be_used_says_why() {
        for (kind, exit, message) in [
            (io::ErrorKind::PermissionDenied, 5, "no permission to use the control socket /s"),
            (io::ErrorKind::ConnectionRefused, 7, "no server answers on /s: the one that made it is gone"),
            (io::ErrorKind::NotFound, 7, "there is no control socket /s"),
        ] {
            let error = CtlError::connecting(Path::new("/s"), &kind.into());
            assert_eq!((error.exit.code(), error.text.message.as_str()), (exit, message));
        }
    }
}
