//! Owns what a client is told in words when the server answers in the app's place, and which setting the operator is
//! told of.
//!
//! Never here: statuses and reason words (`error`). A client learns what it may do, and never a setting, a path or a
//! worker; the operator's record comes at most once a minute for each setting, whatever clients do.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::acceptor::error::ServeError;

/// The sentence for the client.
pub(in crate::acceptor) fn to_client(error: &ServeError) -> Cow<'static, str> {
    match error {
        ServeError::Malformed(what) => format!("malformed request: {what}").into(),
        ServeError::TooSlow(_) => "the request came too slowly".into(),
        ServeError::ClientGone => "the body ended too early".into(),
        ServeError::BodyTooLarge { limit } => format!("the body is larger than {}", size(*limit)).into(),
        ServeError::TargetTooLong { limit } => format!("the address is longer than {limit} bytes").into(),
        ServeError::TooManyFields { limit } => {
            format!("the request has more than {limit} header fields").into()
        }
        ServeError::Method => "the methods CONNECT and TRACE are not served".into(),
        ServeError::UnknownHost => "no site of this name is served here".into(),
        ServeError::Misdirected => "this connection was opened for another host name: \
                                    send the request again over a new connection to its own host"
            .into(),
        ServeError::OverRate { .. } => "too many requests from one address: slow down and try again".into(),
        ServeError::TooManyConnections => {
            "too many connections from one address are in use: close some and try again".into()
        }
        ServeError::QueueFull
        | ServeError::UnreadFull
        | ServeError::QueueTimeout
        | ServeError::WorkerBusy { .. } => "the site is busy: try again".into(),
        ServeError::NoTunnel { .. } => "too many connections are open to the site: try again".into(),
        ServeError::NoWorker => "the site is not running: try again later".into(),
        ServeError::Stopped { .. } => "the site is being worked on: try again later".into(),
        ServeError::TooManyUploads => "too many uploads are under way: try again".into(),
        ServeError::Spool(_) => "the body cannot be stored: try again".into(),
        ServeError::Unreachable { .. } => "the site does not answer".into(),
        ServeError::WorkerDied { .. } => {
            "the site broke off before it answered; it may have acted on the request".into()
        }
        ServeError::BadAnswer { .. } => "the site gave an answer that cannot be passed on".into(),
        ServeError::WorkerTimeout { .. } => {
            "the site did not answer in time; it may have acted on the request".into()
        }
    }
}

/// Records the setting that a request was refused for, for whoever may want to change it.
pub(in crate::acceptor) fn to_operator(error: &ServeError, app: Option<&str>) {
    let (setting, value, last) = match error {
        ServeError::BodyTooLarge { limit } => ("max_body", size(*limit), &LAST[0]),
        ServeError::TargetTooLong { limit } => ("limits.max_url", limit.to_string(), &LAST[1]),
        ServeError::TooManyFields { limit } => ("limits.max_fields", limit.to_string(), &LAST[2]),
        _ => return,
    };
    let now = BEGIN.elapsed().as_secs() + QUIET;
    let before = last.load(Ordering::Relaxed);
    let due = now >= before + QUIET;
    if due && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        tracing::info!(app, setting, value, "a request was refused: {error}; {setting} is {value}");
    }
}

/// As settings are written: `100M`.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Seconds in which one setting is not told of again.
const QUIET: u64 = 60;
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// When each setting was told of last, in seconds since [`BEGIN`] and [`QUIET`].
static LAST: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_as_it_is_written() {
        for (bytes, text) in
            [(104_857_600, "100M"), (2 << 30, "2G"), (64 << 10, "64K"), (5_000, "5000 bytes"), (0, "0 bytes")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
