//! The signals that the server hears: to end, to deploy, or to do nothing.
//!
//! Never here: what follows from one (`boot`).

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{self, SignalKind};

/// The request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerSignal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop, from the keyboard.
    Interrupt,
    /// SIGHUP: reload.
    Hangup,
    /// A signal that means something to other servers and nothing here; its default action would end the process.
    Ignored(Ignored),
}

/// A signal that is caught so that it does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// SIGUSR1: other servers open their log files anew.
    Usr1,
    /// SIGUSR2: other servers start their next version.
    Usr2,
    /// SIGALRM.
    Alarm,
    /// SIGQUIT: Ctrl-\ on a terminal; other servers end on it, some at once and some in order.
    Quit,
}

impl Ignored {
    /// An explanation for the operator who sent the signal.
    pub(crate) fn explained(self) -> &'static str {
        match self {
            Self::Usr1 => "SIGUSR1 is ignored: the server has no log file that could be opened anew",
            Self::Usr2 => {
                "SIGUSR2 is ignored: SIGHUP deploys, and a restart takes a new version of the server"
            }
            Self::Alarm => "SIGALRM is ignored",
            Self::Quit => "SIGQUIT is ignored: SIGTERM ends the server in order",
        }
    }
}

/// The signals of this process, caught from [`listen`](Self::listen) until the process ends: dropping this does not
/// bring their default action back.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    ignored: [(Ignored, unix::Signal); 4],
}

impl Signals {
    /// Catches SIGTERM, SIGINT, SIGHUP and those of [`Ignored`] from now on.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    ///
    /// # Panics
    /// Outside a tokio runtime with signals enabled.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            ignored: [
                (Ignored::Usr1, unix::signal(SignalKind::user_defined1())?),
                (Ignored::Usr2, unix::signal(SignalKind::user_defined2())?),
                (Ignored::Alarm, unix::signal(SignalKind::alarm())?),
                (Ignored::Quit, unix::signal(SignalKind::quit())?),
            ],
        })
    }

    /// Returns the next signal. Several of one kind before a call count once. Cancel-safe.
    pub(crate) async fn next(&mut self) -> ServerSignal {
        // A stop counts more than a reload that came at the same time.
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => ServerSignal::Terminate,
            Some(()) = self.interrupt.recv() => ServerSignal::Interrupt,
            Some(()) = self.hangup.recv() => ServerSignal::Hangup,
            ignored = any(&mut self.ignored) => ServerSignal::Ignored(ignored),
            else => std::future::pending().await,
        }
    }
}

/// Returns the first of these signals that comes. Cancel-safe.
async fn any(signals: &mut [(Ignored, unix::Signal)]) -> Ignored {
    poll_fn(|cx| {
        for (kind, signal) in &mut *signals {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*kind);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn signals_arrive_as_what_they_ask() {
        let mut signals = Signals::listen().unwrap();
        for (sent, expected) in [
            (rustix::process::Signal::HUP, ServerSignal::Hangup),
            (rustix::process::Signal::INT, ServerSignal::Interrupt),
            (rustix::process::Signal::TERM, ServerSignal::Terminate),
            (rustix::process::Signal::USR1, ServerSignal::Ignored(Ignored::Usr1)),
            (rustix::process::Signal::QUIT, ServerSignal::Ignored(Ignored::Quit)),
        ] {
            kill_process(getpid(), sent).unwrap();
            assert_eq!(signals.next().await, expected);
        }
    }
}
