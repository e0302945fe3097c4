//! The agent that gets certificates of authorities, as a task of the server or as the machine's program: its hosts, its
//! folders, and how the certificates stand.
//!
//! Never here: getting certificates (`agent`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::agent::machine::{self, AgentLink, LinkParts};
use crate::agent::{Agent, AgentParts, BegunOrders, HostStatus, Standing};
use crate::api::{AcmeStatus, CertPlan, CheckResult, PlanCheck};
use crate::challenges::Challenges;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::ServerSpec;
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use super::certified_hosts::CertifiedHosts;

/// The agent that gets the server's certificates, and the hosts that it gets them for. Clones share it.
#[derive(Clone)]
pub(super) struct Authorities {
    agent: CertificateAgent,
    /// Hosts that get a certificate although another one was put there by hand: a person waits for it.
    asked: Arc<watch::Sender<BTreeSet<HostName>>>,
    /// The hosts that certificates may be ordered for; `None` where no TLS is spoken, or no authority is asked.
    certified: Option<CertifiedHosts>,
    /// The hosts that the agent is told to look after.
    wanted: watch::Receiver<Arc<[HostName]>>,
}

#[derive(Clone)]
enum CertificateAgent {
    /// No agent: the settings name no authority.
    Off,
    /// The agent is a task of this server.
    Task(Agent),
    /// The agent is the program of the machine.
    Machine(AgentLink),
}

/// The agent that gets certificates for a server, and the place where it leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A task of the server itself.
    Own,
    /// The agent of the machine: the server is a service of the system.
    Machine,
}

impl Whose {
    /// The folder where pairs are left.
    pub(super) fn pairs(self, spec: &ServerSpec) -> PathBuf {
        match self {
            Self::Own => spec.state_dir.join("certs/acme"),
            Self::Machine => PathBuf::from(machine::PAIRS),
        }
    }
}

impl Authorities {
    /// Starts the agent, or the link to the machine's, when the settings name an authority. A server that speaks only
    /// plain HTTP needs no certificate, but answers authorities for other servers of its machine.
    ///
    /// # Errors
    /// When the folders, the key or the file with roots of the agent cannot be used.
    pub(super) async fn start(
        spec: &ServerSpec,
        whose: Whose,
        certified: Option<CertifiedHosts>,
        challenges: &Challenges,
        metrics: &Metrics,
        stop: &TaskGroup,
    ) -> anyhow::Result<Self> {
        let asked = Arc::new(watch::Sender::new(BTreeSet::new()));
        let (hosts_in, hosts) = watch::channel(Arc::from([]));
        let wanted = hosts.clone();
        let Some(acme) = spec.acme.clone() else {
            return Ok(Self { agent: CertificateAgent::Off, asked, certified: None, wanted });
        };
        if let Some(certified) = &certified {
            let follower = WantedHosts { certified: certified.clone(), asked: asked.subscribe() };
            stop.spawn("hosts that need certificates", follower.tell(hosts_in, stop.clone()));
        }
        let (challenges, metrics, stop) = (challenges.clone(), metrics.clone(), stop.clone());
        let agent = match whose {
            Whose::Machine => CertificateAgent::Machine(AgentLink::start(LinkParts {
                socket: PathBuf::from(machine::SOCKET),
                instance: spec.instance.clone(),
                acme,
                hosts,
                challenges,
                metrics,
                stop,
            })),
            Whose::Own if certified.is_some() => {
                let (state, pairs) = (spec.state_dir.join("acme"), whose.pairs(spec));
                let clock = WallClock::system();
                let begun = BegunOrders::default();
                let parts = AgentParts {
                    acme,
                    state,
                    pairs,
                    shared: false,
                    hosts,
                    challenges,
                    begun,
                    metrics,
                    clock,
                    stop,
                };
                CertificateAgent::Task(
                    Agent::start(parts).await.context("cannot get certificates of authorities")?,
                )
            }
            Whose::Own => CertificateAgent::Off,
        };
        Ok(Self { agent, asked, certified, wanted })
    }

    /// How the certificates of authorities stand.
    pub(super) fn standing(&self) -> Arc<Standing> {
        match &self.agent {
            CertificateAgent::Off => Arc::default(),
            CertificateAgent::Task(agent) => agent.standing(),
            CertificateAgent::Machine(link) => link.standing(),
        }
    }

    /// Has the agent look after the host, whatever other certificate it has, as long as the guard lives.
    ///
    /// # Errors
    /// Why the agent does not, in a sentence.
    pub(super) async fn ask_for(&self, host: &HostName) -> Result<AskedFor, String> {
        let mut changes = match &self.agent {
            CertificateAgent::Off => return Err(NO_AUTHORITY.into()),
            CertificateAgent::Task(agent) => agent.watch(),
            CertificateAgent::Machine(link) => link.watch(),
        };
        if let Some(why) = self.certified.as_ref().and_then(|certified| certified.opted_out(host)) {
            return Err(why.into());
        }
        let asked = AskedFor { host: host.clone(), of: Arc::clone(&self.asked) };
        self.asked.send_if_modified(|hosts| hosts.insert(host.clone()));
        let mut wanted = self.wanted.clone();
        let taken_up = async {
            // The agent's status may be older than this request, when another caller has asked for the host before.
            wanted.wait_for(|hosts| hosts.contains(host)).await?;
            changes.wait_for(|standing| standing.hosts.iter().any(|status| status.host == *host)).await?;
            Ok::<(), watch::error::RecvError>(())
        };
        match timeout(TAKING_UP, taken_up).await {
            Ok(Ok(())) => Ok(asked),
            Ok(Err(_)) => Err("the agent has ended".into()),
            Err(_) => Err("the agent does not say that it has taken up the host".into()),
        }
    }

    /// As [`Agent::renew`].
    ///
    /// # Errors
    /// Why there is no new certificate, in plain words.
    pub(super) async fn renew(&self, host: HostName, force: bool) -> Result<(), String> {
        match &self.agent {
            CertificateAgent::Off => Err(NO_AUTHORITY.into()),
            CertificateAgent::Task(agent) => agent.renew(host, force).await,
            CertificateAgent::Machine(link) => link.renew(host, force).await,
        }
    }

    /// As [`Agent::plan`].
    ///
    /// # Errors
    /// Why there is no plan, in plain words.
    pub(super) async fn plan(&self, host: HostName) -> Result<CertPlan, String> {
        let left_out = self.certified.as_ref().and_then(|certified| certified.opted_out(&host));
        let mut plan = match &self.agent {
            CertificateAgent::Off => return Err(NO_AUTHORITY.into()),
            CertificateAgent::Task(agent) => agent.plan(host).await,
            CertificateAgent::Machine(link) => link.plan(host).await?,
        };
        if let Some(why) = left_out {
            let check = PlanCheck { check: "settings".into(), result: CheckResult::Bad, text: why.into() };
            plan.checks.insert(0, check);
            plan.ready = false;
        }
        Ok(plan)
    }

    /// How the certificates of authorities stand, in the form of the control socket.
    pub(super) fn status(&self) -> Vec<AcmeStatus> {
        let now = SystemTime::now();
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default().as_secs();
        let show = |host: &HostStatus| AcmeStatus {
            host: host.host.clone(),
            authority: host.issued_by.clone(),
            expires_in: host.expires_at.map(|at| signed(at, now)),
            renew_in: host.renew_at.filter(|_| host.retry_at.is_none()).map(until),
            ordering: host.ordering,
            problem: host.problem.clone(),
            retry_in: host.retry_at.map(until),
        };
        let standing = self.standing();
        let mut status: Vec<AcmeStatus> = standing.hosts.iter().map(show).collect();
        let others = self.certified.iter().flat_map(CertifiedHosts::status);
        // A host that a person has asked for all the same is among those of the agent.
        status.extend(others.filter(|other| !standing.hosts.iter().any(|own| own.host == other.host)));
        status
    }
}

/// The seconds from `now` until `at`; negative when that has passed.
pub(super) fn signed(at: SystemTime, now: SystemTime) -> i64 {
    match at.duration_since(now) {
        Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        Err(over) => -i64::try_from(over.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

/// Keeps a host looked after; see [`Authorities::ask_for`].
pub(super) struct AskedFor {
    host: HostName,
    of: Arc<watch::Sender<BTreeSet<HostName>>>,
}

impl Drop for AskedFor {
    fn drop(&mut self) {
        self.of.send_if_modified(|hosts| hosts.remove(&self.host));
    }
}

/// The hosts for which certificates are ordered: those without a certificate that a person has put there.
struct WantedHosts {
    certified: CertifiedHosts,
    asked: watch::Receiver<BTreeSet<HostName>>,
}

impl WantedHosts {
    /// Tells the agent the hosts whenever they change.
    async fn tell(mut self, hosts: watch::Sender<Arc<[HostName]>>, stop: TaskGroup) {
        let CertifiedHosts { directory, keeper } = &self.certified;
        let (mut come_and_go, mut certificates) = (directory.changes(), keeper.changes());
        let follow = async {
            loop {
                come_and_go.mark_unchanged();
                certificates.mark_unchanged();
                let now = self.certified.wanted(&self.asked.borrow_and_update());
                hosts.send_if_modified(|told| {
                    let news = **told != *now;
                    *told = Arc::from(now);
                    news
                });
                tokio::select! {
                    Ok(()) = come_and_go.changed() => {}
                    Ok(()) = certificates.changed() => {}
                    Ok(()) = self.asked.changed() => {}
                    // A certificate that was put there may have expired, and settings of apps change without notice.
                    () = sleep(LOOKING) => {}
                }
                // Hosts often come in crowds: the task waits for the rest of them.
                sleep(CROWD).await;
            }
        };
        tokio::select! {
            () = stop.requested() => {}
            () = follow => {}
        }
    }
}

const NO_AUTHORITY: &str = "no authority is asked: start the server with tls.acme (RIP_TLS_ACME=yes, --acme)";
const CROWD: Duration = Duration::from_millis(200);
const LOOKING: Duration = Duration::from_secs(30);
/// The time limit for the agent to take up a host.
const TAKING_UP: Duration = Duration::from_secs(10);
