//! Owns the table of refusals: one row for each reason why the server answers in the app's place.
//!
//! A row's comment is its line in the table of SPEC §8, which is made from here.
//! Never here: what happened to a request (`error`), or turning a row into bytes (`request/reply`).

use std::sync::atomic::AtomicU64;

use http::{Method, StatusCode};

use super::limit::Limit;

/// A refusal, as client, operator and retry logic see it.
#[derive(Debug)]
pub(super) struct Reason {
    /// The word of `X-Rip-Reason`; it never changes.
    pub(super) word: &'static str,
    pub(super) status: StatusCode,
    pub(super) blame: Blame,
    pub(super) retry: Retry,
    /// Whether the connection must end, because where the next request begins is not certain or not worth waiting for.
    pub(super) closes: bool,
    /// The seconds of `Retry-After`, where they are always the same.
    pub(super) retry_after: Option<u64>,
    /// The sentence for the client; the detail of the error replaces `{}`. The sentence goes into HTML, JSON and text
    /// without being escaped.
    pub(super) text: &'static str,
    /// The setting that the client's request exceeded.
    pub(super) setting: Option<LimitingSetting>,
    /// The limit on clients that counts this refusal.
    pub(super) limit: Option<Limit>,
}

/// The side that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Client,
    Worker,
    Server,
}

/// Whether the request may be handed to another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// No byte of the request can have been acted on.
    Always,
    /// The request may be handed on only if doing it twice is the same as doing it once (RFC 9110 §9.2.2).
    IfIdempotent,
    Never,
}

impl Retry {
    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Always => true,
            Self::IfIdempotent => method.is_idempotent(),
            Self::Never => false,
        }
    }
}

/// A setting for which requests are refused.
#[derive(Debug)]
pub(super) struct LimitingSetting {
    pub(super) key: &'static str,
    /// When the log last named the setting, in seconds of the clock of `setting_notice`.
    pub(super) last_logged: AtomicU64,
}

impl Reason {
    const fn new(status: StatusCode, word: &'static str, blame: Blame, text: &'static str) -> Self {
        Self {
            word,
            status,
            blame,
            retry: Retry::Never,
            closes: false,
            retry_after: None,
            text,
            setting: None,
            limit: None,
        }
    }

    /// A refusal for what the client sent.
    const fn client(status: StatusCode, word: &'static str, text: &'static str) -> Self {
        Self::new(status, word, Blame::Client, text)
    }

    /// A refusal for what a worker did.
    const fn worker(status: StatusCode, word: &'static str, text: &'static str) -> Self {
        Self::new(status, word, Blame::Worker, text)
    }

    /// A refusal that another try may spare the client: 503, after a second.
    const fn busy(word: &'static str, blame: Blame, text: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, blame, text).after(1)
    }

    const fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    const fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    const fn retried(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    const fn set_by(self, key: &'static str) -> Self {
        Self { setting: Some(LimitingSetting { key, last_logged: AtomicU64::new(0) }), ..self }
    }

    const fn counted(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

/// Makes a static of each row, and for tests the whole table with the rows' comments.
macro_rules! reasons {
    ($($(#[doc = $when:literal])+ $name:ident = $reason:expr;)+) => {
        $($(#[doc = $when])+ pub(super) static $name: Reason = $reason;)+
        #[cfg(test)]
        const TABLE: &[(&Reason, &str)] = &[$((&$name, concat!($($when),+))),+];
    };
}

reasons! {
    /// both `Content-Length` and `Transfer-Encoding`, or two of the latter; a line of the head or the trailers that
    /// ends in LF alone; a method not in upper case; a target with bytes that must be encoded, with a `#`, of another
    /// scheme than `http` and `https`, or that is no path (`*` is for OPTIONS alone); no `Host`, two, one that is no
    /// host name (letters beyond ASCII are sent as IDNA has them) or has a port above 65535, or another than the
    /// target's; a `Content-Length` far longer than a number; a broken body; where [routes](#11-hosts) are, a path
    /// that may be read as that of several
    MALFORMED = Reason::client(StatusCode::BAD_REQUEST, "malformed", "malformed request: {}").closing();
    /// the body ended early; the access record says 499 where the client has left
    CLIENT_GONE = Reason::client(StatusCode::BAD_REQUEST, "client-gone", "the body ended too early").closing();
    /// nobody registered the host; also on the redirect port
    UNKNOWN_HOST = Reason::client(StatusCode::NOT_FOUND, "unknown-host", "no site of this name is served here");
    /// the host has [routes](#11-hosts) for some paths, and none for this one
    UNKNOWN_PATH = Reason::client(StatusCode::NOT_FOUND, "unknown-path", "nothing is served at this path here");
    /// the client is of a network that `deny` names, or of none that `allow` names
    FORBIDDEN = Reason::client(StatusCode::FORBIDDEN, "forbidden", "this may not be asked for from your address");
    /// a [name with its password](#710-passwords) is needed and was not shown; `WWW-Authenticate: Basic realm="…"`
    UNAUTHORIZED = Reason::client(
        StatusCode::UNAUTHORIZED, "unauthorized", "a name and its password are needed here",
    );
    /// too many passwords are being checked, or requests asked about, in all or of one client
    AUTH_BUSY = Reason::busy(
        "auth-busy", Blame::Server, "too many are being asked who they are: try again",
    ).counted(Limit::Passwords);
    /// who asks cannot be found out: the file of users could never be read, or [the
    /// program](#711-another-program-is-asked) or app that is asked cannot be reached, is late, or answers what it
    /// should not
    AUTH_FAILED = Reason::busy(
        "auth-failed", Blame::Server, "who you are cannot be found out now: try again",
    ).set_by("auth");
    /// CONNECT (but for WebSockets over HTTP/2), TRACE
    METHOD = Reason::client(
        StatusCode::METHOD_NOT_ALLOWED, "method", "the methods CONNECT and TRACE are not served",
    ).closing();
    /// an extended CONNECT of HTTP/2 (RFC 8441) for another protocol than `websocket`
    PROTOCOL = Reason::client(StatusCode::NOT_IMPLEMENTED, "protocol", "this protocol is not served");
    /// a WebSocket over HTTP/2 where the app, or the server itself, answers as if an ordinary page had been asked for
    NO_WEBSOCKET = Reason::client(StatusCode::BAD_REQUEST, "no-websocket", "there is no WebSocket at this address");
    /// head or body too slow
    TOO_SLOW = Reason::client(
        StatusCode::REQUEST_TIMEOUT, "too-slow", "the request came too slowly",
    ).closing();
    /// above `max_body`
    BODY_TOO_LARGE = Reason::client(
        StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is larger than {}",
    ).closing().set_by("max_body");
    /// above `limits.max_url`
    TARGET_TOO_LONG = Reason::client(
        StatusCode::URI_TOO_LONG, "target-too-long", "the address is longer than {} bytes",
    ).closing().set_by("limits.max_url");
    /// more fields than `limits.max_fields`, over HTTP/2
    TOO_MANY_FIELDS = Reason::client(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "the request has more than {} header fields",
    ).closing().set_by("limits.max_fields");
    /// the TLS handshake named a host of another app, or did not ask for the client certificate that the host asks for
    MISDIRECTED = Reason::client(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "this connection was opened for another host name, or without the client certificate that this one asks for: send \
         the request again over a new connection to its own host",
    ).closing();
    /// above `limits.rate`; `Retry-After`
    OVER_RATE = Reason::client(
        StatusCode::TOO_MANY_REQUESTS, "over-rate", "too many requests from one address: slow down and try again",
    );
    /// the client has more connections than its share, and too many of those have a request in hand: see
    /// [16](#16-security)
    TOO_MANY_CONNECTIONS = Reason::busy(
        "too-many-connections",
        Blame::Client,
        "too many connections from one address are in use: close some and try again",
    ).closing();
    /// too many wait, or others of another client do in its place
    QUEUE_FULL = Reason::busy("queue-full", Blame::Server, SITE_BUSY).counted(Limit::Queue);
    /// waited too long
    QUEUE_TIMEOUT = Reason::busy("queue-timeout", Blame::Server, SITE_BUSY);
    /// no worker was there in time, or the app's only generation was rejected
    NO_WORKER = Reason::busy("no-worker", Blame::Server, "the site is not running: try again later");
    /// refused by the second worker too
    WORKER_BUSY = Reason::busy("worker-busy", Blame::Worker, SITE_BUSY).retried(Retry::Always);
    /// the worker holds `tunnels` already, or as many of this client as it may
    NO_TUNNEL = Reason::busy(
        "no-tunnel", Blame::Worker, "too many connections are open to the site: try again",
    ).counted(Limit::Tunnels);
    /// a body cannot be stored: the disk is full, or `limits.spool` has no space left for it
    SPOOL = Reason::busy("spool", Blame::Server, "the body cannot be stored: try again");
    /// too many request bodies are coming at the same time, in all or of one client
    TOO_MANY_UPLOADS = Reason::busy(
        "too-many-uploads", Blame::Server, "too many uploads are under way: try again",
    );
    /// the host is [stopped](#11-hosts); with the operator's page if there is one
    STOPPED = Reason::busy(
        "stopped", Blame::Server, "the site is being worked on: try again later",
    ).after(60);
    /// cannot connect, twice
    WORKER_UNREACHABLE = Reason::worker(
        StatusCode::BAD_GATEWAY, "worker-unreachable", "the site does not answer",
    ).retried(Retry::Always);
    /// the connection ended before the answer's head; `X-Rip-Cause: exit`, `signal` or `oom` where known
    WORKER_DIED = Reason::worker(
        StatusCode::BAD_GATEWAY,
        "worker-died",
        "the site broke off before it answered; it may have acted on the request",
    ).retried(Retry::IfIdempotent);
    /// the worker's answer is not HTTP, says two things about its length, or has a head of more than 64 KiB (65,536
    /// bytes from the status line to the empty line) or 128 fields
    BAD_ANSWER = Reason::worker(
        StatusCode::BAD_GATEWAY, "bad-answer", "the site gave an answer that cannot be passed on",
    );
    /// a worker names a file that is not there, or that the server may not read: see
    /// [7.8](#78-files-that-the-server-sends)
    FILE_MISSING = Reason::worker(StatusCode::NOT_FOUND, "file-missing", "the file is not there");
    /// a worker names a file outside of the folders of `accel`
    FILE_OUTSIDE = Reason::worker(
        StatusCode::BAD_GATEWAY, "file-outside", "the site gave the name of a file that may not be sent",
    );
    /// no head within `timeouts.request`; with `concurrency` 1 the worker is killed,
    /// [else asked](#71-the-way-of-a-request)
    WORKER_TIMEOUT = Reason::worker(
        StatusCode::GATEWAY_TIMEOUT,
        "worker-timeout",
        "the site did not answer in time; it may have acted on the request",
    );
}

const SITE_BUSY: &str = "the site is busy: try again";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated;

    #[test]
    fn packaging_the_table_of_the_spec_is_this_one() {
        let mut table = "| status | `X-Rip-Reason` | when |\n|---|---|---|\n".to_owned();
        for (reason, when) in TABLE {
            let close = if reason.closes { ", close" } else { "" };
            let after =
                reason.retry_after.map(|after| format!(", `Retry-After: {after}`")).unwrap_or_default();
            table += &format!(
                "| {}{close}{after} | `{}` | {} |\n",
                reason.status.as_u16(),
                reason.word,
                when.trim()
            );
        }
        generated::assert_up_to_date("SPEC.md", "reasons", &table);
    }

    #[test]
    fn each_reason_has_a_word_of_its_own_and_a_sentence_that_needs_no_escaping() {
        for (at, (reason, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|(other, _)| other.word != reason.word), "{}", reason.word);
            assert!(!reason.text.contains(['"', '\\', '<', '>', '&']), "{}", reason.text);
        }
    }
}
