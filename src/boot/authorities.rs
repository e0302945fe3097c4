//! The agent that gets certificates of authorities, as a task of the server or as the one of its machine: its hosts, its
//! folders, how it stands.
//!
//! Never here: getting certificates (`agent`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::machine::{self, AgentLink, LinkParts};
use crate::agent::{Agent, AgentParts, HostStatus, Standing};
use crate::api::AcmeStatus;
use crate::challenges::Challenges;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::{Scheme, ServerSpec};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

/// Who gets the server's certificates.
#[derive(Clone)]
pub(super) enum Authorities {
    /// Nobody: the settings name no authority.
    Off,
    /// A task of this server.
    Task(Agent),
    /// The agent of the machine.
    Machine(AgentLink),
}

/// Who gets certificates for a server, and where they are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A task of the server itself.
    Own,
    /// The agent of the machine: the server is a service of the system's.
    Machine,
}

impl Whose {
    /// Where pairs are left.
    pub(super) fn pairs(self, spec: &ServerSpec) -> PathBuf {
        match self {
            Self::Own => spec.state_dir.join("certs/acme"),
            Self::Machine => PathBuf::from(machine::PAIRS),
        }
    }
}

impl Authorities {
    /// Starts the agent, or the link to the machine's, when the settings name an authority. A server that speaks plain HTTP
    /// alone needs no certificate, and answers for others on its machine.
    ///
    /// # Errors
    /// When the folders, the key or the file with roots of the agent cannot be used.
    pub(super) async fn start(
        spec: &ServerSpec,
        whose: Whose,
        directory: &Directory,
        challenges: &Challenges,
        metrics: &Metrics,
        stop: &TaskGroup,
    ) -> anyhow::Result<Self> {
        let Some(acme) = spec.acme.clone() else { return Ok(Self::Off) };
        let is_https = matches!(spec.scheme, Scheme::Https { .. });
        let (hosts_in, hosts) = watch::channel(Arc::from([]));
        if is_https {
            stop.spawn("hosts that need certificates", tell_hosts(directory.clone(), hosts_in, stop.clone()));
        }
        let (challenges, metrics, stop) = (challenges.clone(), metrics.clone(), stop.clone());
        Ok(match whose {
            Whose::Machine => Self::Machine(AgentLink::start(LinkParts {
                socket: PathBuf::from(machine::SOCKET),
                instance: spec.instance.clone(),
                acme,
                hosts,
                challenges,
                metrics,
                stop,
            })),
            Whose::Own if is_https => {
                let (state, pairs) = (spec.state_dir.join("acme"), whose.pairs(spec));
                let clock = WallClock::system();
                let parts =
                    AgentParts { acme, state, pairs, shared: false, hosts, challenges, metrics, clock, stop };
                Self::Task(Agent::start(parts).await.context("cannot get certificates of authorities")?)
            }
            Whose::Own => Self::Off,
        })
    }

    fn standing(&self) -> Arc<Standing> {
        match self {
            Self::Off => Arc::default(),
            Self::Task(agent) => agent.standing(),
            Self::Machine(link) => link.standing(),
        }
    }

    /// How the certificates of authorities stand, as the control socket says it.
    pub(super) fn status(&self) -> Vec<AcmeStatus> {
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
        self.standing().hosts.iter().map(show).collect()
    }
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

const CROWD: Duration = Duration::from_millis(200);
