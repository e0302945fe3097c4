//! Owns what is done for each call: its body read and checked, the manager asked, the answer chosen.
//!
//! Never here: connections, or how an answer is put into bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::net::unix::UCred;
use tokio::time::timeout;

use crate::api::{self, AppStatus, Health, Registry, Status, Stopping, Workers};
use crate::metrics;

use super::Control;
use super::reply::{Refusal, Reply, json, json_lines, text};
use super::routes::Route;

impl Control {
    /// Answers one request. Dropped when the client leaves: what the manager was asked by then is done.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: Option<UCred>) -> Reply {
        let call = format!("{} {}", request.method(), request.uri().path());
        let route = match Route::find(request.method(), request.uri()) {
            Ok(route) => route,
            Err(refusal) => return refusal.into_reply(),
        };
        let changes = route.changes();
        let reply = self.act(route, request.into_body()).await.unwrap_or_else(Refusal::into_reply);
        if changes {
            let (uid, pid) = (peer.map(|peer| peer.uid()), peer.and_then(|peer| peer.pid()));
            tracing::info!(call, uid, pid, status = reply.status().as_u16(), "asked over the control socket");
        }
        reply
    }

    async fn act(&self, route: Route, body: Incoming) -> Result<Reply, Refusal> {
        Ok(match route {
            Route::Registry => json(&self.registry().await),
            Route::AddHost => json(&self.manager.add_host(read(body, ADD_HOST).await?).await?),
            Route::RemoveHost(host) => json(&self.manager.remove_host(&host).await?),
            Route::SetIntent(host) => {
                json(&self.manager.set_intent(&host, read(body, SET_INTENT).await?).await?)
            }
            Route::Status => json(&self.status().await),
            Route::Workers => json(&Workers { workers: self.manager.workers().await }),
            Route::Deploy => {
                let api::Deploy { app } = read_or_default(body, DEPLOY).await?;
                self.facts.settings.read_anew().map_err(|wrong| {
                    tracing::error!("nothing is deployed, and all goes on as before: {wrong}");
                    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-config", wrong).hint(GOES_ON)
                })?;
                json_lines(self.manager.deploy(app.as_ref()).await?, self.stop.clone())
            }
            Route::Scale => json(&self.manager.scale(read(body, SCALE).await?).await?),
            Route::Stop => {
                let api::Stop {} = read_or_default(body, STOP).await?;
                self.shutdown.request();
                json(&Stopping { ok: true, drain: self.facts.drain.as_secs() })
            }
            Route::Metrics => {
                // Reading the apps brings their gauges up to date.
                drop(self.manager.apps().await);
                text(metrics::CONTENT_TYPE, self.metrics.render())
            }
            Route::Logs(query) => {
                let lines = self.manager.logs(query.app, query.lines, query.follow).await?;
                json_lines(lines, self.stop.clone())
            }
        })
    }

    async fn registry(&self) -> Registry {
        let mut entries = self.manager.hosts().await;
        entries.sort_by(|a, b| a.host.cmp(&b.host));
        Registry { ok: true, hosts: entries.iter().map(|entry| entry.host.clone()).collect(), entries }
    }

    async fn status(&self) -> Status {
        let facts = &self.facts;
        let apps = self.manager.apps().await;
        Status {
            status: health(&apps),
            instance: facts.instance.clone(),
            version: facts.version.clone(),
            pid: std::process::id(),
            uptime: facts.started.elapsed().as_secs(),
            urls: facts.urls.clone(),
            control: facts.control.clone(),
            doing: if self.shutdown.is_requested() { DRAINING.into() } else { doing(&apps) },
            apps,
            certificates: (facts.certificates)(),
            acme: (facts.acme)(),
            service: facts.service.clone(),
            backend: Some(facts.backend.clone()),
            needs_restart: facts.settings.needs_restart(),
        }
    }
}

fn health(apps: &[AppStatus]) -> Health {
    if apps.iter().all(|app| app.workers.ready > 0) { Health::Healthy } else { Health::Degraded }
}

/// What stands out among the apps, in their own words.
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

async fn read<T: DeserializeOwned>(body: Incoming, right: &str) -> Result<T, Refusal> {
    parse(&whole(body).await?, right)
}

/// For calls where every field may be left out: so may the body.
async fn read_or_default<T: DeserializeOwned + Default>(body: Incoming, right: &str) -> Result<T, Refusal> {
    let bytes = whole(body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes, right) }
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    let collected = timeout(BODY, Limited::new(body, MAX_BODY).collect()).await.map_err(|_| {
        let message = format!("the body did not come within {} s", BODY.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message)
    })?;
    collected.map(|body| body.to_bytes()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is longer than 1 MiB")
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, "bad-request", format!("the body broke off: {error}"))
        }
    })
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], right: &str) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("cannot use the body `{}`: {error}", excerpt(bytes));
        Refusal::new(StatusCode::BAD_REQUEST, "bad-request", message).hint(right)
    })
}

const GOES_ON: &str = "nothing was deployed, and all goes on as before";

/// Enough of what was read to know it again.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT)]);
    if bytes.len() > EXCERPT { format!("{text}…") } else { text.into_owned() }
}

const ADD_HOST: &str =
    r#"expected {"host":"blog.example","path":"/srv/rip/blog"}; without path: the first app"#;
const SET_INTENT: &str = r#"expected {"intent":"run"}, "hold" or "stop", with stop also "page":"<html>…""#;
const DEPLOY: &str = r#"expected {"app":"blog"}; without app: all"#;
const SCALE: &str =
    r#"expected {"app":"blog","workers":"half"}, "auto", "2x" or "4"; app may be left out when there is one"#;

const STOP: &str = "expected {} or nothing";

const SERVING: &str = "serving";
const DRAINING: &str = "stopping: requests in hand are finished first";
const SHOWN: usize = 3;

const BODY: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1 << 20;
const EXCERPT: usize = 200;
