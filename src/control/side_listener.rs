//! Owns the listeners beside the control socket, for scrapers and balancers: few connections at a time, each for a
//! short while, one request each.
//!
//! Never here: what is answered.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::tasks::TaskGroup;
use crate::time::Backoff;

use super::reply::{CallError, CallReply};

/// The service on a listener beside the control socket.
pub(super) trait SideService: Send + Sync + 'static {
    /// The name in logs and tasks.
    const NAME: &'static str;

    /// Serves one connection. The future is dropped after [`LONGEST`]: the client asks again anyway.
    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send;
}

/// A side service over HTTP.
pub(super) trait SideHttp: Send + Sync + 'static {
    const NAME: &'static str;
    /// The paths that there are, for a client that asks for another.
    const HINT: &'static str;

    /// Answers a GET; `None`: there is nothing at that path.
    fn get(&self, path: &str) -> impl Future<Output = Option<CallReply>> + Send;
}

/// Serves at `address` until `stop` is requested.
///
/// # Errors
/// When nothing can listen there.
pub(super) async fn serve_at<S: SideService>(
    address: SocketAddr,
    service: S,
    stop: &TaskGroup,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let tasks = stop.clone();
    stop.spawn(S::NAME, async move {
        tokio::select! {
            biased;
            () = tasks.requested() => {}
            () = accept(listener, Arc::new(service), &tasks) => {}
        }
    });
    Ok(())
}

async fn accept<S: SideService>(listener: TcpListener, service: Arc<S>, tasks: &TaskGroup) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff.reset();
                let service = Arc::clone(&service);
                tasks.spawn(S::NAME, async move {
                    let _ = timeout(LONGEST, service.serve(stream)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the {} listener accepts nobody for a moment", S::NAME);
                sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// Serves a [`SideHttp`] on connections.
pub(super) struct OverHttp<H>(pub(super) H);

impl<H: SideHttp> SideService for OverHttp<H> {
    const NAME: &'static str = H::NAME;

    async fn serve(&self, stream: TcpStream) {
        let service = service_fn(async |request: Request<Incoming>| {
            let (method, path) = (request.method(), request.uri().path());
            let reply = match *method {
                Method::GET | Method::HEAD => self.0.get(path).await,
                _ => None,
            };
            Ok::<_, Infallible>(reply.unwrap_or_else(|| {
                let message = format!("there is no {method} {path} here");
                CallError::new(StatusCode::NOT_FOUND, "bad-request", message).hint(H::HINT).into_reply()
            }))
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection to the {} listener broke off", H::NAME);
        }
    }
}

/// The most connections at a time.
const MOST: usize = 16;
const HEAD: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
