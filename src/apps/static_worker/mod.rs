//! The built-in static worker: a process of its own that serves a folder over an inherited socket.
//!
//! Never here: which file answers a request, and reaching a file safely (`files`).

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::files::beneath::Beneath;
use crate::files::request_path::is_seen;
use crate::files::site::Site;

#[derive(Clone, Debug, PartialEq, Eq)]
struct StaticOptions {
    /// The folder; no file outside of it is ever served, not through symbolic links either.
    root: PathBuf,
    /// The file that stands for a folder.
    index: String,
    /// The file, relative to the root, that answers for an unknown page.
    spa: Option<String>,
    /// Files that are never served.
    secrets: Vec<PathBuf>,
}

impl StaticOptions {
    /// Serves `root` with `index.html` for folders and no fallback.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), index: "index.html".into(), spa: None, secrets: Vec::new() }
    }
}

/// Why the static worker cannot serve.
#[derive(Debug, thiserror::Error)]
enum StaticError {
    /// No socket was handed over.
    #[error(
        "no listening Unix socket was inherited as file descriptor 3: rip-server starts this worker itself"
    )]
    NoListener,
    /// The descriptor that was handed over is not a listening Unix socket.
    #[error("file descriptor 3 is not a listening Unix socket: {0}")]
    Listener(io::Error),
    /// The root cannot be served.
    #[error("cannot serve `{}`: {source}", root.display())]
    Root { root: PathBuf, source: io::Error },
    /// The runtime or its signal handlers could not be set up.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs `worker-static --root DIR [--index NAME] [--spa FILE] [--secret FILE]…`, given the words after `worker-static`.
pub(crate) fn run_words(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(options) = parse(words) else {
        eprintln!("usage: rip-server worker-static --root DIR [--index NAME] [--spa FILE] [--secret FILE]…");
        return ExitCode::from(2);
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rip-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Option<StaticOptions> {
    let mut words = words.into_iter();
    let mut root = None;
    let (mut index, mut spa, mut secrets) = (None, None, Vec::new());
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.to_str()? {
            "--root" => root = Some(PathBuf::from(value)),
            "--index" => index = Some(value.into_string().ok()?),
            "--spa" => spa = Some(value.into_string().ok()?),
            "--secret" => secrets.push(PathBuf::from(value)),
            _ => return None,
        }
    }
    let mut options = StaticOptions::new(root?);
    options.index = index.unwrap_or(options.index);
    options.spa = spa;
    options.secrets = secrets;
    Some(options)
}

/// Serves until SIGTERM or SIGINT, finishes the requests in hand and returns.
///
/// # Errors
/// Only before the first request is accepted.
fn run(options: StaticOptions) -> Result<(), StaticError> {
    let listener = inherited_listener()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .map_err(StaticError::Start)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(StaticError::Start)?;
        serve(listener, options, stop, say_ready).await
    })
}

/// The most fields of a head: more than the server in front lets through, which adds some of its own.
const MAX_FIELDS: usize = 1024;

/// Serves `listener` until `stop` resolves; `ready` is called once, when a connection would be answered.
async fn serve(
    listener: UnixListener,
    options: StaticOptions,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), StaticError> {
    let root = options.root.clone();
    let files = Beneath::new(&root, is_seen).map_err(|source| StaticError::Root { root, source })?;
    let files = files.without(&options.secrets);
    let site = Site::new(files, &options.index, options.spa.as_deref());
    listener.set_nonblocking(true).map_err(StaticError::Listener)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(StaticError::Listener)?;
    let connections = TaskTracker::new();
    let stopping = CancellationToken::new();
    ready();

    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, site.clone(), stopping.clone()));
            }
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    drop(listener);
    stopping.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Serves one connection until the peer leaves or, when stopping, until its request in hand is answered.
async fn converse(stream: UnixStream, site: Site, stopping: CancellationToken) {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    // There are no time limits: the peer is the server in front, which has its own for every step.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A peer that leaves in the middle is no error here; a file that cannot be read to its end is one.
    if let Err(error) = ended
        && error.is_user()
    {
        eprintln!("an answer was cut short: {error}");
    }
}

fn inherited_listener() -> Result<UnixListener, StaticError> {
    let listener = ListenFd::from_env().take_unix_listener(0).map_err(StaticError::Listener)?;
    listener.ok_or(StaticError::NoListener)
}

fn say_ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        eprintln!("cannot send READY=1: {error}");
    }
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

/// The threads that read files; each holds one chunk of 64 KiB at a time.
const READERS: usize = 8;

/// The pause when the process is out of descriptors or memory, in which a connection may end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
