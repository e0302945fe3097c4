//! Owns the handler of each endpoint: it asks the supervisor and makes the answer.
//!
//! Never here: finding the endpoint (`router`), connections, or how an answer is put into bytes (`reply`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use rustix::process::{getegid, geteuid};
use tokio::net::unix::UCred;
use tokio::time::{Instant, timeout};

use crate::api::{
    AppStatus, BackendName, CertList, DrainAnswer, Health, HostList, RunPlace, RunTimer, StartDrain, Status,
    StopAnswer, TimerStarted, WorkerList, endpoints,
};
use crate::backend::{environment_of_command, environment_of_unit};
use crate::name::HostName;

use super::Control;
use super::balancer_drain::Until;
use super::reply::{CallError, CallReply};
use super::router::Router;

/// Every endpoint with its handler. A handler is dropped when its client leaves; the supervisor still does what it was
/// asked before.
pub(super) fn router() -> Router {
    Router::default()
        .on(&endpoints::LIST_HOSTS, |control, ()| async move { Ok(control.hosts().await) })
        .on(
            &endpoints::ADD_HOST,
            |control, wanted| async move { Ok(control.supervisor.add_host(wanted).await?) },
        )
        .on(&endpoints::REMOVE_HOST, |control, route| async move {
            let changed = control.supervisor.remove_host(&route).await?;
            if !control.certified().await.contains(route.host()) {
                control.facts.certificates.removed(route.host()).await?;
            }
            Ok(changed)
        })
        .on(&endpoints::SET_STATE, |control, (host, wanted)| async move {
            Ok(control.supervisor.set_state(&host, wanted).await?)
        })
        .on(&endpoints::SET_INTENT, |control, (host, wanted)| async move {
            Ok(control.supervisor.set_state(&host, wanted).await?)
        })
        .on(&endpoints::GET_STATUS, |control, ()| async move { Ok(control.status().await) })
        .on(&endpoints::LIST_WORKERS, |control, ()| async move {
            Ok(WorkerList { workers: control.supervisor.workers().await })
        })
        .on(&endpoints::DEPLOY, |control, wanted| async move {
            control.facts.settings.read_anew().map_err(|wrong| {
                tracing::error!("nothing is deployed, and all goes on as before: {wrong}");
                CallError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-config", wrong)
                    .hint("nothing was deployed, and all goes on as before")
            })?;
            Ok(control.supervisor.deploy_as(wanted).await?)
        })
        .on(&endpoints::PROMOTE, |control, wanted| async move {
            Ok(control.supervisor.promote(wanted.app.as_ref()).await?)
        })
        .on(&endpoints::ABORT, |control, wanted| async move {
            Ok(control.supervisor.abort(wanted.app.as_ref()).await?)
        })
        .on(&endpoints::ROLL_BACK, |control, wanted| async move {
            Ok(control.supervisor.roll_back(wanted.app.as_ref()).await?)
        })
        .on(&endpoints::RUN_PLACE, |control, wanted| async move {
            let (generation, launch) = control.supervisor.serving(wanted.app.as_ref()).await?;
            Ok(RunPlace {
                ok: true,
                app: launch.app.clone(),
                generation,
                backend: control.facts.backend.name,
                directory: launch.directory.clone(),
                env: match control.facts.backend.name {
                    BackendName::Child => environment_of_command(&launch, generation),
                    BackendName::Systemd => environment_of_unit(&launch),
                },
                instance: launch.instance.clone(),
                user_units: control.facts.service.as_ref().map_or(!geteuid().is_root(), |unit| unit.user),
                uid: geteuid().as_raw(),
                gid: getegid().as_raw(),
            })
        })
        .on(&endpoints::RUN_TIMER, |control, RunTimer { app, timer }| async move {
            let (app, worker) = control.supervisor.run_timer(app.as_ref(), timer.clone()).await?;
            Ok(TimerStarted { ok: true, app, timer, worker })
        })
        .on(&endpoints::SCALE, |control, wanted| async move { Ok(control.supervisor.scale(wanted).await?) })
        .on(&endpoints::STOP, |control, _| async move {
            control.shutdown.request();
            let (drain, lame_duck) = (control.facts.drain.as_secs(), control.facts.lame_duck.as_secs());
            Ok(StopAnswer { ok: true, drain, lame_duck })
        })
        .on(&endpoints::LIST_CERTS, |control, ()| async move {
            let hosts = control.certified().await;
            Ok(CertList { ok: true, certificates: control.facts.certificates.of(&hosts) })
        })
        .on(&endpoints::SHOW_CERT, |control, host| async move {
            control.registered(&host).await?;
            let found = control.facts.certificates.of(std::slice::from_ref(&host)).pop();
            found.ok_or_else(|| no_such_host(&host))
        })
        .on(&endpoints::RENEW_CERT, |control, (host, wanted)| async move {
            let host = control.registered(&host).await?;
            Ok(control.facts.certificates.renew(host, wanted.force))
        })
        .on(
            &endpoints::PLAN_CERT,
            |control, host| async move { Ok(control.facts.certificates.plan(host).await?) },
        )
        .on(&endpoints::IMPORT_CERT, |control, (host, pair)| async move {
            Ok(control.facts.certificates.import(host, pair).await?)
        })
        .on(&endpoints::DRAIN, |control, wanted| async move { Ok(control.drain(wanted)) })
        .on(&endpoints::UNDRAIN, |control, _| async move { Ok(control.undrain()) })
        .on(&endpoints::METRICS, |control, ()| async move {
            // Reading the apps brings their gauges up to date.
            drop(control.supervisor.apps().await);
            Ok(control.metrics.render())
        })
        .on(&endpoints::LOGS, |control, wanted| async move {
            Ok(control.supervisor.logs(wanted.app, wanted.lines, wanted.follow).await?)
        })
}

impl Control {
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Option<UCred>,
    ) -> CallReply {
        let call = format!("{} {}", request.method(), request.uri().path());
        let mut changes = false;
        let reply = self.call(request, &mut changes).await.unwrap_or_else(CallError::into_reply);
        if changes {
            let (uid, pid) = (peer.map(|peer| peer.uid()), peer.and_then(|peer| peer.pid()));
            tracing::info!(call, uid, pid, status = reply.status().as_u16(), "asked over the control socket");
        }
        reply
    }

    async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        changes: &mut bool,
    ) -> Result<CallReply, CallError> {
        let (route, mut parts) = self.router.find(request.method(), request.uri().path())?;
        *changes = route.changes();
        parts.query = request.uri().query().unwrap_or_default().into();
        if route.has_body {
            parts.body = whole(request.into_body()).await?.into();
        }
        let answer = route.read(&mut parts)?;
        answer(Arc::clone(&self)).await
    }

    async fn hosts(&self) -> HostList {
        let mut entries = self.supervisor.hosts().await;
        entries.sort_by(|a, b| a.host.cmp(&b.host));
        HostList { ok: true, hosts: entries.iter().map(|entry| entry.host.clone()).collect(), entries }
    }

    /// The host as it was registered: by its own name, else by the wildcard above it.
    ///
    /// # Errors
    /// When the host is not served.
    async fn registered(&self, host: &HostName) -> Result<HostName, CallError> {
        let above = host.as_str().split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let hosts = self.certified().await;
        let own = hosts.iter().find(|known| *known == host);
        let found = own.or_else(|| hosts.iter().find(|known| Some(known.as_str()) == above.as_deref()));
        found.cloned().ok_or_else(|| no_such_host(host))
    }

    /// The hosts that certificates are for, sorted; the routes of a host count once.
    async fn certified(&self) -> Vec<HostName> {
        let routes = self.supervisor.hosts().await;
        let hosts: BTreeSet<_> = routes.iter().map(|entry| entry.host.host().clone()).collect();
        hosts.into_iter().collect()
    }

    fn drain(&self, StartDrain { seconds }: StartDrain) -> DrainAnswer {
        let now = Instant::now();
        let lasts = seconds.map(|seconds| Duration::from_secs(seconds.get().into()));
        let changed = self.drain.at(now).is_none();
        self.drain.begin(Until::after(now, lasts));
        tracing::info!(?lasts, "drained: balancers are told that requests are to go elsewhere");
        DrainAnswer { ok: true, changed, asked_by_balancers: self.facts.asked_by_balancers }
    }

    fn undrain(&self) -> DrainAnswer {
        let changed = self.drain.end(Instant::now());
        if changed {
            tracing::info!("drained no longer: balancers are told that requests may come");
        }
        DrainAnswer { ok: true, changed, asked_by_balancers: self.facts.asked_by_balancers }
    }

    fn doing(&self, apps: &[AppStatus]) -> String {
        match self.drain.at(Instant::now()) {
            _ if self.shutdown.is_requested() => STOPPING.into(),
            None => doing(apps),
            Some(until) => format!("{}; drained {}", doing(apps), until.shown(Instant::now())),
        }
    }

    async fn status(&self) -> Status {
        let facts = &self.facts;
        let apps = self.supervisor.apps().await;
        Status {
            status: health(&apps),
            instance: facts.instance.clone(),
            version: facts.version.clone(),
            pid: std::process::id(),
            uptime: facts.started.elapsed().as_secs(),
            urls: facts.urls.clone(),
            control: facts.control.clone(),
            drained: self.drain.at(Instant::now()).is_some(),
            doing: self.doing(&apps),
            apps,
            certificates: facts.certificates.in_use(),
            acme: facts.certificates.acme(),
            service: facts.service.clone(),
            backend: Some(facts.backend.clone()),
            needs_restart: facts.settings.needs_restart(),
        }
    }
}

fn no_such_host(host: &HostName) -> CallError {
    CallError::new(StatusCode::NOT_FOUND, "no-such-host", format!("there is no host `{host}`"))
        .hint("`rip-serverctl list` shows the hosts")
}

fn health(apps: &[AppStatus]) -> Health {
    if apps.iter().all(AppStatus::can_serve) { Health::Healthy } else { Health::Degraded }
}

/// A sentence about the apps that do not just serve, in their own words.
fn doing(apps: &[AppStatus]) -> String {
    let busy: Vec<_> = apps.iter().filter(|app| app.doing != SERVING).collect();
    match (apps, busy.as_slice()) {
        ([], _) => "waiting for a first app".into(),
        (_, []) => SERVING.into(),
        ([_], [app]) => app.doing.clone(),
        (_, busy) => {
            let shown: Vec<_> =
                busy.iter().take(SHOWN).map(|app| format!("{}: {}", app.app, app.doing)).collect();
            let more = busy.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            shown.join("; ") + &more
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, CallError> {
    let collected = timeout(BODY, Limited::new(body, MAX_BODY).collect()).await.map_err(|_| {
        let message = format!("the body did not come within {} s", BODY.as_secs());
        CallError::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message)
    })?;
    collected.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            CallError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is longer than 1 MiB")
        } else {
            CallError::new(StatusCode::BAD_REQUEST, "bad-request", format!("the body broke off: {error}"))
        }
    })
}

const SERVING: &str = "serving";
const STOPPING: &str = "stopping: requests in hand are finished first";
const SHOWN: usize = 3;

const BODY: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1 << 20;
