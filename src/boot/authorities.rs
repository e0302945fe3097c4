//! The agent that gets certificates of authorities, as a task of the server: its hosts, its folders, how it stands.
//!
//! Never here: getting certificates (`agent`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::{Agent, AgentParts, HostStatus};
use crate::api::AcmeStatus;
use crate::challenges::Challenges;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::{Scheme, ServerSpec};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

/// Starts the agent, when the settings name an authority and TLS is spoken.
///
/// # Errors
/// When its folders, its key or the file with roots cannot be used.
pub(super) async fn start(
    spec: &ServerSpec,
    directory: &Directory,
    challenges: &Challenges,
    metrics: &Metrics,
    stop: &TaskGroup,
) -> anyhow::Result<Option<Agent>> {
    let Some(acme) = spec.acme.clone().filter(|_| matches!(spec.scheme, Scheme::Https { .. })) else {
        return Ok(None);
    };
    let (hosts_in, hosts) = watch::channel(Arc::from([]));
    stop.spawn("hosts that need certificates", tell_hosts(directory.clone(), hosts_in, stop.clone()));
    let parts = AgentParts {
        acme,
        state: spec.state_dir.join("acme"),
        pairs: pairs(spec),
        shared: false,
        hosts,
        challenges: challenges.clone(),
        metrics: metrics.clone(),
        clock: WallClock::system(),
        stop: stop.clone(),
    };
    Ok(Some(Agent::start(parts).await.context("cannot get certificates of authorities")?))
}

/// Where the agent leaves its pairs.
pub(super) fn pairs(spec: &ServerSpec) -> PathBuf {
    spec.state_dir.join("certs/acme")
}

/// Tells which hosts there are, as often as that changes.
async fn tell_hosts(directory: Directory, hosts: watch::Sender<Arc<[HostName]>>, stop: TaskGroup) {
    let mut changes = directory.changes();
    let follow = async {
        loop {
            changes.mark_unchanged();
            let mut now = directory.hosts_that(|host| !is_of_this_machine(host));
            now.sort();
            hosts.send_if_modified(|told| {
                let news = **told != *now;
                *told = Arc::from(now);
                news
            });
            if changes.changed().await.is_err() {
                return;
            }
            // Hosts often come in crowds.
            sleep(CROWD).await;
        }
    };
    tokio::select! {
        () = stop.requested() => {}
        () = follow => {}
    }
}

/// Names that every machine has, and that lead nobody else here.
fn is_of_this_machine(host: &HostName) -> bool {
    host.as_str() == "localhost" || host.address().is_some_and(|address| address.is_loopback())
}

/// How the certificates of authorities stand, as the control socket says it.
pub(super) fn status(agent: &Agent) -> Vec<AcmeStatus> {
    let now = SystemTime::now();
    let until = |at: SystemTime| at.duration_since(now).unwrap_or_default().as_secs();
    let signed = |at: SystemTime| match at.duration_since(now) {
        Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        Err(over) => -i64::try_from(over.duration().as_secs()).unwrap_or(i64::MAX),
    };
    let show = |host: &HostStatus| AcmeStatus {
        host: host.host.clone(),
        authority: host.issued_by.clone(),
        expires_in: host.expires_at.map(signed),
        renew_in: host.renew_at.filter(|_| host.retry_at.is_none()).map(until),
        ordering: host.ordering,
        problem: host.problem.clone(),
        retry_in: host.retry_at.map(until),
    };
    agent.status().iter().map(show).collect()
}

const CROWD: Duration = Duration::from_millis(200);
