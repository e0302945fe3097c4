//! Owns the listener that Prometheus scrapes: `GET /metrics` over plain HTTP, and nothing else.
//!
//! Never here: anything that changes the server; that needs the control socket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::api::endpoint::Text;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;
use crate::tasks::TaskGroup;
use crate::time::Backoff;

use super::reply::{Answer, CallError, CallReply};

/// Answers scrapes at `address` until stop is requested.
///
/// # Errors
/// When nothing can listen there.
pub async fn serve_metrics(
    address: SocketAddr,
    manager: Supervisor,
    metrics: Metrics,
    stop: TaskGroup,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let scrape = Arc::new(Scrape { manager, metrics, stop: stop.clone() });
    let tasks = stop.clone();
    stop.spawn("metrics", async move {
        tokio::select! {
            biased;
            () = tasks.requested() => {}
            () = accept(listener, scrape, &tasks) => {}
        }
    });
    Ok(())
}

struct Scrape {
    manager: Supervisor,
    stop: TaskGroup,
    metrics: Metrics,
}

async fn accept(listener: TcpListener, scrape: Arc<Scrape>, tasks: &TaskGroup) {
    let places = Arc::new(Semaphore::new(MAX_SCRAPES));
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff.reset();
                let scrape = Arc::clone(&scrape);
                tasks.spawn("scrape", async move {
                    // A scraper that is too slow is cut: the next one comes anyway.
                    let _ = timeout(LONGEST, scrape.serve(stream)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics listener accepts nobody for a moment");
                sleep(backoff.next_delay()).await;
            }
        }
    }
}

impl Scrape {
    async fn serve(&self, stream: TcpStream) {
        let service = service_fn(async |request: http::Request<Incoming>| {
            Ok::<_, Infallible>(self.answer(&request).await)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a scrape broke off");
        }
    }

    async fn answer(&self, request: &http::Request<Incoming>) -> CallReply {
        if request.uri().path() != "/metrics" || !matches!(*request.method(), Method::GET | Method::HEAD) {
            let message = format!("there is no {} {} here", request.method(), request.uri().path());
            return CallError::new(StatusCode::NOT_FOUND, "bad-request", message)
                .hint("GET /metrics")
                .into_reply();
        }
        // Reading the apps brings their gauges up to date.
        drop(self.manager.apps().await);
        Text::into_reply(self.metrics.render(), self.stop.clone())
    }
}

const MAX_SCRAPES: usize = 16;
const HEAD: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
