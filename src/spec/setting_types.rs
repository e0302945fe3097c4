//! The types of settings whose values are neither numbers nor texts: counts of workers, ports, rates, and choices among
//! a few words.
//!
//! Never here: reading values (`settings`), or what follows from them.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Serialize;

use crate::files::error_pages::ErrorPages;
use crate::files::scripts::DocumentRoot;

/// A number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerCount {
    /// Half of the cores, at least one: `w:half`.
    Half,
    /// As many as there are cores: `w:auto`.
    Auto,
    /// A multiple of the cores: `w:2x`, `w:3x`.
    Times(NonZeroU32),
    /// A number: `w:4`.
    Exactly(NonZeroU32),
}

impl WorkerCount {
    /// The number of workers on a machine with that many cores; at least 1.
    pub(crate) fn resolve(self, cores: usize) -> usize {
        match self {
            Self::Half => (cores / 2).max(1),
            Self::Auto => cores.max(1),
            Self::Times(factor) => cores.max(1).saturating_mul(factor.get() as usize),
            Self::Exactly(count) => count.get() as usize,
        }
    }
}

impl fmt::Display for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Half => f.write_str("half"),
            Self::Auto => f.write_str("auto"),
            Self::Times(factor) => write!(f, "{factor}x"),
            Self::Exactly(count) => count.fmt(f),
        }
    }
}

/// How many workers an app gets: always the same number, or by load between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerRange {
    pub(crate) least: WorkerCount,
    pub(crate) most: WorkerCount,
}

impl WorkerRange {
    /// Whether the range is one number, whatever the load.
    pub(crate) fn is_fixed(self) -> bool {
        self.least == self.most
    }

    /// The numbers that the range allows on a machine with that many cores; at least 1. Where `most` turns out to be
    /// below `least`, the range is `least` alone.
    pub(crate) fn resolve(self, cores: usize) -> RangeInclusive<usize> {
        let least = self.least.resolve(cores);
        least..=self.most.resolve(cores).max(least)
    }
}

impl From<WorkerCount> for WorkerRange {
    fn from(count: WorkerCount) -> Self {
        Self { least: count, most: count }
    }
}

impl fmt::Display for WorkerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { least, most } if least == most => least.fmt(f),
            Self { least, most } => write!(f, "{least}..{most}"),
        }
    }
}

/// The port of the main listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortChoice {
    /// The given port, or an error.
    Given(u16),
    /// The scheme's own port, or the first free one from 5000 up when that fails with EACCES or EADDRINUSE.
    Probe,
}

/// A token bucket per client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Requests per second in the long run.
    pub(crate) per_second: NonZeroU32,
    /// Requests at once.
    pub(crate) burst: NonZeroU32,
}

/// The folder of an app's scripts, where it is a PHP app. No setting has this value: it is found by looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scripts(pub(crate) Option<Arc<DocumentRoot>>);

impl Scripts {
    /// The initial value: no setting has one.
    pub(crate) fn read<V>(_: &V) -> Self {
        Self::default()
    }
}

/// The pages of an app for answers in its place, as a deploy has read them. No setting has this value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnPages(pub(crate) Option<Arc<ErrorPages>>);

impl OwnPages {
    /// The initial value: no setting has one.
    pub(crate) fn read<V>(_: &V) -> Self {
        Self::default()
    }
}

/// A setting that is one of a few words.
pub(crate) trait Choice: Sized {
    /// The words that people may write.
    const WORDS: &'static [&'static str];

    /// The choice that a word stands for.
    fn of_word(word: &str) -> Option<Self>;
}

/// Makes enums in which each variant that people may choose has a word.
macro_rules! choices {
    ($($(#[$attr:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $(= $word:literal)?,)* })*) => {$(
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(unreachable_pub, reason = "the tests of backends see two of them")]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl Choice for $name {
            const WORDS: &'static [&'static str] = &[$($($word,)?)*];

            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($($word => Some(Self::$variant),)?)*
                    _ => None,
                }
            }
        }
    )*};
}

choices! {
    /// The sign by which a worker is ready.
    ReadyBy {
        /// `READY=1` or an answer, whichever comes first; for programs that are known to say `READY=1` after the app is
        /// loaded.
        Either,
        /// An answer; `READY=1` may have been sent by a server in front of the app.
        Answer = "answer",
        /// `READY=1`; the worker is never asked.
        Notify = "notify",
    }

    /// How a worker gets its listening socket.
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    Listen {
        /// File descriptor 3 with `LISTEN_FDS=1`, as sd_listen_fds(3) describes.
        Fd = "fd",
        /// The app binds the Unix socket named in `$RIP_SOCKET`.
        Path = "path",
        /// The app binds the loopback TCP port named in `$PORT`.
        Port = "port",
    }

    /// The protocol of a worker.
    Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 without TLS and with prior knowledge (RFC 9113 §3.3), for gRPC.
        H2c = "h2c",
        /// FastCGI 1.0, in the role of a responder.
        FastCgi = "fastcgi",
    }

    /// The answers that are compressed for clients that take them so.
    Compress {
        /// No answers are compressed.
        Off = "off",
        /// Answers without a secret: style sheets, scripts, fonts, and pages that are the same for everybody.
        Safe = "safe",
        /// All answers that get smaller.
        All = "all",
    }

    /// The means by which a client's requests find the worker that has answered it before.
    Sticky {
        /// By nothing: any worker takes them.
        Off = "off",
        /// By a cookie.
        Cookie = "cookie",
        /// By the client's address.
        Address = "address",
    }

    /// The effect of a change of the app's files.
    Reload {
        /// A change has no effect.
        None = "none",
        /// A rolling replacement of the workers.
        Process = "process",
        /// The worker loads the app anew by itself, or is sent a signal.
        Module = "module",
    }

    /// A signal that an app asks for instead of a restart.
    ReloadSignal {
        /// SIGHUP.
        Hup = "HUP",
        /// SIGUSR1.
        Usr1 = "USR1",
        /// SIGUSR2.
        Usr2 = "USR2",
    }

    /// The treatment of a client without an accepted certificate.
    #[derive(Hash)]
    ClientCertMode {
        /// The client's handshake fails.
        Require = "require",
        /// The client is served, and the worker is told.
        Request = "request",
        /// The client is not asked for a certificate.
        Off = "off",
    }

    /// A listener whose connections begin with a PROXY header.
    ProxiedListener {
        /// The listener with TLS.
        Https = "https",
        /// The listener without TLS, for apps or for redirects.
        Http = "http",
    }

    /// When balancers are told that the server is ready.
    ReadyWhen {
        /// When every app has a worker.
        All = "all",
        /// When any app has a worker.
        Any = "any",
    }

    /// How an authority is shown that a name leads here.
    #[derive(serde::Serialize, serde::Deserialize)]
    Challenge {
        /// By the way that works: plain HTTP, else a handshake or DNS; wildcards by DNS.
        Auto = "auto",
        /// By an answer on port 80 (RFC 8555 §8.3).
        Http = "http",
        /// By a handshake on port 443 (RFC 8737).
        TlsAlpn = "tls-alpn",
        /// By a DNS record (RFC 8555 §8.4) that the hook sets.
        Dns = "dns",
    }

    /// The backend that runs the workers.
    BackendChoice {
        /// systemd where the server is a service, else child processes.
        Auto = "auto",
        /// Child processes.
        Child = "child",
        /// A transient unit for each worker.
        Systemd = "systemd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_ends_below_its_beginning() {
        let three = WorkerCount::Exactly(NonZeroU32::new(3).unwrap());
        let range = WorkerRange { least: three, most: WorkerCount::Auto };
        assert_eq!((range.resolve(8), range.resolve(2)), (3..=8, 3..=3));
        assert_eq!((range.to_string(), WorkerRange::from(three).to_string()), ("3..auto".into(), "3".into()));
    }

    #[test]
    fn worker_counts_follow_the_cores_and_are_never_zero() {
        let three = NonZeroU32::new(3).unwrap();
        for (count, cores, workers) in [
            (WorkerCount::Half, 1, 1),
            (WorkerCount::Half, 8, 4),
            (WorkerCount::Auto, 8, 8),
            (WorkerCount::Times(three), 2, 6),
            (WorkerCount::Exactly(three), 64, 3),
        ] {
            assert_eq!(count.resolve(cores), workers, "{count} on {cores} cores");
        }
    }
}
