//! Owns finding out whether a worker takes requests, by a request over its own socket, as a client's would be.
//!
//! Never here: for how long to go on asking, which the caller decides by dropping the future.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::fastcgi_probe;
use crate::fastcgi::request::get_values;
use crate::files::scripts::{Meant, Script};
use crate::pool::Address;
use crate::spec::{Protocol, Scripts};

/// The request of a probe, and the address.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) address: Address,
    /// The path of the request; unused with [`Protocol::H2c`].
    pub(super) path: String,
    pub(super) protocol: Protocol,
    /// The script to run, for workers that run scripts.
    pub(super) script: Option<Script>,
}

impl Probe {
    /// A probe of a worker at `address` for `path`; where that is a file, for what stands for the root.
    pub(super) fn new(address: Address, path: String, protocol: Protocol, scripts: &Scripts) -> Self {
        let found = |path: &str| match scripts.0.as_ref()?.find(path) {
            Meant::Script(script) => Some(script),
            Meant::File(_) | Meant::Folder | Meant::Nothing => None,
        };
        let script = found(path.split('?').next().unwrap_or_default()).or_else(|| found("/"));
        Self { address, path, protocol, script }
    }
}

/// Why a try did not find a worker ready.
#[derive(Debug)]
pub(super) enum NotReady {
    /// The worker's socket cannot be connected to, or broke.
    Io(io::Error),
    /// The worker took the connection and closed it.
    Closed,
    /// The worker sent nothing in time.
    Silent,
    /// The worker answered with this status.
    Answered(u16),
    /// The worker answered in another protocol than it should speak.
    NotSpoken(Protocol),
    /// No process listens on the worker's port.
    Unheard(u16),
    /// Another process has the worker's port.
    Foreign(u16, String),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => f.write_str("it made no socket"),
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("closed the connection without an answer"),
            Self::Silent => write!(f, "no answer within {} s", TRY_LIMIT.as_secs()),
            Self::Answered(status) => write!(f, "answered {status}"),
            Self::NotSpoken(Protocol::Http1) => f.write_str("answered something that is not HTTP/1.1"),
            Self::Unheard(port) => write!(f, "nobody listens on port {port}"),
            Self::Foreign(port, holder) => write!(f, "port {port} belongs to {holder}"),
            Self::NotSpoken(Protocol::H2c) => f.write_str("answered something that is not HTTP/2"),
            Self::NotSpoken(Protocol::FastCgi) => f.write_str("answered something that is not FastCGI"),
        }
    }
}

impl From<io::Error> for NotReady {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

/// Asks until the worker is ready; `last` has the result of the last try. Cancel-safe.
pub(super) async fn until_ready(probe: &Probe, last: &watch::Sender<Option<NotReady>>) {
    let mut pause = FIRST_PAUSE;
    loop {
        // A listener that was handed over takes a connection before its app runs. One long try is answered as soon as
        // the app runs, while many short ones would leave it a backlog of dead requests.
        let tried = timeout(TRY_LIMIT, ask(probe)).await.unwrap_or(Err(NotReady::Silent));
        let Err(why) = tried else { return };
        last.send_replace(Some(why));
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a worker that was ready once sends nothing at all within `limit`. The worker's app may wait for something
/// else, and its answer with it; the worker is then sent a text that its server answers by itself. Cancel-safe.
pub(super) async fn is_silent(probe: &Probe, limit: Duration) -> bool {
    let half = limit / 2;
    timeout(half, ask(probe)).await.is_err() && timeout(half, provoke(probe)).await.is_err()
}

/// How long a worker, whose requests may take `request`, may send nothing before it counts as silent: it may be busy
/// with something for a moment.
pub(super) fn silence_limit(request: Duration) -> Duration {
    request.clamp(Duration::from_secs(1), Duration::from_secs(10))
}

/// Sends what is no request: a server whose event loop runs refuses it, or answers it by itself.
async fn provoke(probe: &Probe) -> Result<(), NotReady> {
    async fn refused(mut stream: impl AsyncRead + AsyncWrite + Unpin, asked: &[u8]) -> Result<(), NotReady> {
        stream.write_all(asked).await?;
        stream.read_exact(&mut [0; 1]).await?;
        Ok(())
    }
    let asked = match probe.protocol {
        Protocol::FastCgi => get_values(),
        Protocol::Http1 | Protocol::H2c => b"?\r\n\r\n".to_vec(),
    };
    let socket = probe.address.connect().await?;
    match &probe.address {
        Address::Unix(_) | Address::Bound(_) => refused(UnixStream::from_std(socket.into())?, &asked).await,
        Address::Tcp(_) => refused(TcpStream::from_std(socket.into())?, &asked).await,
    }
}

async fn ask(probe: &Probe) -> Result<(), NotReady> {
    let socket = probe.address.connect().await?;
    match &probe.address {
        Address::Unix(_) | Address::Bound(_) => converse(UnixStream::from_std(socket.into())?, probe).await,
        Address::Tcp(_) => converse(TcpStream::from_std(socket.into())?, probe).await,
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, probe: &Probe) -> Result<(), NotReady> {
    match probe.protocol {
        Protocol::Http1 => get(stream, &probe.path).await,
        Protocol::H2c => exchange_settings(stream).await,
        Protocol::FastCgi => match fastcgi_probe::get(stream, &probe.path, probe.script.as_ref()).await {
            Ok(status) if status >= 500 => Err(NotReady::Answered(status)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(NotReady::NotSpoken(Protocol::FastCgi))
            }
            Err(error) => Err(error.into()),
        },
    }
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Result<(), NotReady> {
    // An app that looks for the client's address finds one: over a Unix socket it would know of none.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: rip-server-probe\r\nAccept: */*\r\n\
         X-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    let status = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(NotReady::Closed);
        }
        match status_of(&head) {
            Some(status) => break status,
            None if head.len() > MAX_STATUS_LINE || !b"HTTP/1.".starts_with(&head[..head.len().min(7)]) => {
                return Err(NotReady::NotSpoken(Protocol::Http1));
            }
            None => {}
        }
    };
    if status >= 500 {
        return Err(NotReady::Answered(status));
    }
    finish(stream).await;
    Ok(())
}

/// The status, when its line is complete.
fn status_of(head: &[u8]) -> Option<u16> {
    let mut fields = [httparse::EMPTY_HEADER; 1];
    let mut response = httparse::Response::new(&mut fields);
    // Too many fields are an error that comes after the status line: the status is there all the same.
    let _ = response.parse(head);
    response.code
}

/// Reads the rest of the answer, so that the worker is free when it is published.
async fn finish(mut stream: impl AsyncRead + Unpin) {
    let mut rest = [0; 4096];
    let drained = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    timeout(FINISH_LIMIT, drained).await.ok();
}

/// Exchanges SETTINGS, with which both sides begin (RFC 9113 §3.4): a worker that speaks HTTP/2 answers before any
/// request.
async fn exchange_settings(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), NotReady> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await?;
    let (kind, stream_id) = (frame[3], &frame[5..]);
    if kind == SETTINGS && stream_id == [0; 4] { Ok(()) } else { Err(NotReady::NotSpoken(Protocol::H2c)) }
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
const TRY_LIMIT: Duration = Duration::from_secs(10);
const FINISH_LIMIT: Duration = Duration::from_millis(100);
const MAX_STATUS_LINE: usize = 8 * 1024;
const SETTINGS: u8 = 4;

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    fn probe(address: Address, protocol: Protocol) -> Probe {
        Probe { address, path: "/up?x=1".into(), protocol, script: None }
    }

    /// Probes a worker that answers its connections with these texts, one each; returns what it read first, and the
    /// result of the last failed try.
    async fn asked(answers: &[&[u8]], protocol: Protocol) -> (String, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sock");
        let observer = UnixListener::bind(&path).unwrap();
        let (last, seen) = watch::channel(None);
        let worker = async {
            let mut heard = String::new();
            for answer in answers {
                let (mut stream, _) = observer.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                heard = String::from_utf8_lossy(&request[..read]).into_owned();
                stream.write_all(answer).await.unwrap();
            }
            heard
        };
        let probe = probe(Address::Unix(path), protocol);
        let (heard, ()) = tokio::join!(worker, until_ready(&probe, &last));
        let failure = seen.borrow().as_ref().map(ToString::to_string);
        (heard, failure)
    }

    #[tokio::test]
    async fn the_first_answer_below_500_is_readiness() {
        let (request, failure) = asked(&[b"HTTP/1.1 404 Not Found\r\n\r\n"], Protocol::Http1).await;
        let expected = "GET /up?x=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: rip-server-probe\r\n\
                        Accept: */*\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: close\r\n\r\n";
        assert_eq!(request, expected);
        assert_eq!(failure, None);
    }

    #[tokio::test]
    async fn what_is_no_readiness_is_kept_for_messages_and_asked_again() {
        const OK: &[u8] = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n";
        const CASES: &[(&[&[u8]], &str)] = &[
            (&[b"HTTP/1.1 503 Service Unavailable\r\n\r\n", OK], "answered 503"),
            (&[b"SSH-2.0-OpenSSH\r\n", OK], "answered something that is not HTTP/1.1"),
            (&[b"", OK], "closed the connection without an answer"),
            (&[b"HTTP/1.1 ", OK], "closed the connection without an answer"),
        ];
        for (answers, failure) in CASES {
            assert_eq!(asked(answers, Protocol::Http1).await.1.as_deref(), Some(*failure));
        }
    }

    #[tokio::test]
    async fn a_worker_whose_app_hangs_is_not_silent_as_long_as_its_server_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.sock");
        let observer = UnixListener::bind(&path).unwrap();
        let probe = probe(Address::Unix(path), Protocol::Http1);
        let limit = Duration::from_millis(400);
        let worker = async {
            let (hangs, _) = observer.accept().await.unwrap();
            let (mut refuses, _) = observer.accept().await.unwrap();
            refuses.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            hangs
        };
        let (_hangs, silent) = tokio::join!(worker, is_silent(&probe, limit));
        assert!(!silent);
        assert!(is_silent(&probe, limit).await, "nobody takes its connections");
    }

    #[tokio::test]
    async fn http2_is_ready_when_settings_come_back() {
        let settings: &[&[u8]] = &[&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]];
        let (request, failure) = asked(settings, Protocol::H2c).await;
        assert!(request.starts_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "{request:?}");
        assert_eq!(failure, None);

        let first_http1: &[&[u8]] = &[b"HTTP/1.1 400 Bad Request\r\n\r\n", settings[0]];
        let (_, failure) = asked(first_http1, Protocol::H2c).await;
        assert_eq!(failure.as_deref(), Some("answered something that is not HTTP/2"));
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_refused() {
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let probe = probe(Address::Tcp(address), Protocol::Http1);

        assert_eq!(ask(&probe).await.unwrap_err().to_string(), "connection refused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_never_answers_is_given_up_on_after_the_limit_of_a_try() {
        let (near, _far) = tokio::io::duplex(1024);
        let answer = timeout(TRY_LIMIT * 2, get(near, "/")).await;
        assert!(answer.is_err(), "only the caller's limit ends it");
        assert_eq!(NotReady::Silent.to_string(), "no answer within 10 s");
    }
}
