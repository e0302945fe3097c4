//! Owns the server's end of the control socket: who may connect, how long clients may take, and how many there are.
//!
//! Never here: what a call does to apps and hosts (`supervisor`), or how answers look to a person (`ctl`).

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::api::{BackendStatus, ServiceUnit};
use crate::metrics::Metrics;
use crate::name::InstanceName;
use crate::supervisor::Supervisor;
use crate::tasks::{ShutdownToken, TaskGroup};
use crate::time::{Backoff, Heartbeat, Heartbeats};

mod agent_check;
mod balancer_drain;
mod calls;
mod certificates;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod health;
mod readiness;
mod reply;
mod router;
mod scrape;
mod side_listener;
mod socket;

#[cfg(test)]
mod tests;

pub(crate) use agent_check::serve_agent_check;
pub(crate) use balancer_drain::BalancerDrain;
pub(crate) use certificates::{CertificateCall, CertificateCallError, Certificates};
pub(crate) use health::serve_health;
pub(crate) use readiness::ReadinessParts;
pub(crate) use scrape::serve_metrics;
pub(crate) use socket::{ControlSocket, bind};

use reply::CallError;
use router::Router;
use socket::ControlSocketFile;

/// The parts of the control server.
pub(crate) struct ControlParts {
    pub(crate) listeners: Vec<ControlSocket>,
    /// The supervisor, which carries calls out.
    pub(crate) supervisor: Supervisor,
    /// The server's facts about itself.
    pub(crate) facts: Arc<ServerFacts>,
    pub(crate) metrics: Metrics,
    /// The group of the control server's tasks, which is stopped last, so that people can watch the rest end.
    pub(crate) stop: TaskGroup,
    /// The end of the server; `POST /stop` requests it.
    pub(crate) shutdown: ShutdownToken,
    /// The drain that `POST /drain` and `POST /undrain` change.
    pub(crate) drain: BalancerDrain,
    /// Where the server's loop reports that it runs.
    pub(crate) heartbeats: Heartbeats,
}

/// The facts of a server about itself.
pub(crate) struct ServerFacts {
    /// The instance's name.
    pub(crate) instance: InstanceName,
    /// The program's version.
    pub(crate) version: String,
    /// When the server started.
    pub(crate) started: Instant,
    /// The URLs that the server listens on.
    pub(crate) urls: Vec<String>,
    /// The path of the control socket.
    pub(crate) control: PathBuf,
    /// The server's certificates.
    pub(crate) certificates: Arc<dyn Certificates>,
    /// Whether there is a listener where balancers can ask.
    pub(crate) asked_by_balancers: bool,
    /// How long the server serves on when it is to stop.
    pub(crate) lame_duck: Duration,
    /// How long requests in hand have when the server stops.
    pub(crate) drain: Duration,
    /// How systemd runs the server, if it does.
    pub(crate) service: Option<ServiceUnit>,
    pub(crate) backend: BackendStatus,
    pub(crate) settings: Arc<dyn ServerSettings>,
}

/// The server's settings, as far as calls need them.
pub(crate) trait ServerSettings: Send + Sync {
    /// Reads the server's config file anew, for later deploys. A wrong file changes nothing.
    ///
    /// # Errors
    /// The fault in the file, with its place and the form that would be right.
    fn read_anew(&self) -> Result<(), String>;

    /// Settings that were read anew and take effect at the next start of the server.
    fn needs_restart(&self) -> Vec<String>;
}

pub(crate) struct Control {
    router: Router,
    supervisor: Supervisor,
    facts: Arc<ServerFacts>,
    metrics: Metrics,
    stop: TaskGroup,
    shutdown: ShutdownToken,
    drain: BalancerDrain,
    heartbeats: Heartbeats,
}

impl Control {
    /// Starts the control server as a task of `stop` on the current runtime. When the stop is requested, it accepts no
    /// connection, lets the calls in hand end for a short while, and unlinks its socket if it has made it.
    ///
    /// # Errors
    /// When a socket cannot be registered with the runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(parts: ControlParts) -> io::Result<()> {
        let ControlParts { listeners, supervisor, facts, metrics, stop, shutdown, drain, heartbeats } = parts;
        let router = calls::router();
        let control = Arc::new(Self {
            router,
            supervisor,
            facts,
            metrics,
            stop: stop.clone(),
            shutdown,
            drain,
            heartbeats,
        });
        for listener in listeners {
            let (listener, file) = listener.into_parts();
            let listener = UnixListener::from_std(listener)?;
            stop.spawn("control", Arc::clone(&control).run(listener, file));
        }
        Ok(())
    }

    async fn run(self: Arc<Self>, listener: UnixListener, file: Option<ControlSocketFile>) {
        let connections = self.stop.child();
        let mut heartbeat = self.heartbeats.join("control");
        tokio::select! {
            biased;
            () = self.stop.requested() => {}
            () = self.accept(listener, &connections, &mut heartbeat) => {}
        }
        heartbeat.retire();
        connections.finished_within(GRACE * 2).await;
        drop(file);
    }

    /// Accepts connections; never returns. Every connection needs a place first, so that connections cannot use up the
    /// server's descriptors.
    async fn accept(
        self: &Arc<Self>,
        listener: UnixListener,
        connections: &TaskGroup,
        heartbeat: &mut Heartbeat,
    ) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS + TURNED_AWAY));
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        loop {
            let next = tokio::select! {
                () = heartbeat.beat() => continue,
                next = admit(&listener, &places) => next,
            };
            match next {
                Ok((stream, place)) => {
                    backoff.reset();
                    let capacity = if places.available_permits() < TURNED_AWAY {
                        Capacity::Full
                    } else {
                        Capacity::Free
                    };
                    let serving = Arc::clone(self).serve(stream, capacity, place, connections.clone());
                    connections.spawn("control connection", serving);
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket accepts nobody for a moment");
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        stream: UnixStream,
        capacity: Capacity,
        _place: OwnedSemaphorePermit,
        stop: TaskGroup,
    ) {
        let peer = stream.peer_cred().ok();
        let service = service_fn(|request: http::Request<Incoming>| {
            let control = Arc::clone(&self);
            async move {
                let reply = match capacity {
                    Capacity::Free => control.answer(request, peer).await,
                    Capacity::Full => busy().into_reply(),
                };
                Ok::<_, Infallible>(reply)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.requested() => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a control connection broke off");
        }
    }
}

/// Waits for a place and then for a connection. Cancel-safe: a connection that is not accepted yet stays in the
/// kernel's queue.
async fn admit(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

#[derive(Clone, Copy)]
enum Capacity {
    Free,
    Full,
}

fn busy() -> CallError {
    let message = format!("{MAX_CONNECTIONS} control connections are open already");
    CallError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).hint("end some `rip-serverctl logs -f`")
}

const MAX_CONNECTIONS: usize = 64;
/// Places beyond the limit, for clients that are told that the limit is reached.
const TURNED_AWAY: usize = 8;
/// The time limit of a request's head, and of the rest between two requests.
const HEAD: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 32 << 10;
/// The time that calls in hand have when the control server ends.
const GRACE: Duration = Duration::from_secs(1);
