//! Owns a server's end of the agent's socket: the link tells the agent which hosts need certificates, and puts up the
//! agent's answers to authorities.
//!
//! Never here: getting certificates, or which hosts a server has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::agent::failure::FailureKind;
use crate::agent::{HostStatus, Standing};
use crate::api::CertPlan;
use crate::challenges::Challenges;
use crate::metrics::Metrics;
use crate::name::{HostName, InstanceName};
use crate::spec::acme::Acme;
use crate::tasks::TaskGroup;
use crate::time::Backoff;

use super::messages::{self, ToAgent, ToServer};

/// The parts that a link works with.
pub(crate) struct LinkParts {
    /// Where the agent listens.
    pub(crate) socket: PathBuf,
    pub(crate) instance: InstanceName,
    /// The settings of ACME.
    pub(crate) acme: Acme,
    /// The hosts that need certificates.
    pub(crate) hosts: watch::Receiver<Arc<[HostName]>>,
    /// Where answers to authorities are put up.
    pub(crate) challenges: Challenges,
    /// Where attempts are counted.
    pub(crate) metrics: Metrics,
    /// The group of the link's task.
    pub(crate) stop: TaskGroup,
}

/// A server's link to the agent of its machine. Dropping it does not end its task; [`TaskGroup`] does.
#[derive(Clone)]
pub(crate) struct AgentLink {
    calls: mpsc::Sender<Call>,
    standing: watch::Receiver<Arc<Standing>>,
}

/// A call to the agent, with the channel for its answer.
struct Call {
    host: HostName,
    reply: LinkReply,
}

/// The channel of the caller that waits for an answer.
enum LinkReply {
    Renewal { force: bool, ended: oneshot::Sender<Result<(), String>> },
    Plan(oneshot::Sender<Result<CertPlan, String>>),
}

impl LinkReply {
    fn fails(self, why: String) {
        match self {
            Self::Renewal { ended, .. } => drop(ended.send(Err(why))),
            Self::Plan(plan) => drop(plan.send(Err(why))),
        }
    }
}

impl AgentLink {
    /// Starts the task that connects, and connects again whenever the connection has ended.
    pub(crate) fn start(parts: LinkParts) -> Self {
        let (calls_in, calls) = mpsc::channel(16);
        let (standing_in, standing) = watch::channel(Arc::default());
        let stop = parts.stop.clone();
        let task = LinkTask {
            parts,
            calls,
            standing: standing_in,
            failures: None,
            waiting: HashMap::new(),
            count: 0,
        };
        let watching = stop.clone();
        stop.spawn("link to the agent", async move {
            tokio::select! {
                () = watching.requested() => {}
                () = task.run() => {}
            }
        });
        Self { calls: calls_in, standing }
    }

    /// How the certificates stand now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// How the certificates stand, as a channel that tells each change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// As [`Agent::renew`](crate::agent::Agent::renew).
    ///
    /// # Errors
    /// Why there is no new certificate, in plain words; the one in use stays.
    pub(crate) async fn renew(&self, host: HostName, force: bool) -> Result<(), String> {
        self.call(host, |ended| LinkReply::Renewal { force, ended }).await
    }

    /// As [`Agent::plan`](crate::agent::Agent::plan).
    ///
    /// # Errors
    /// Why the agent cannot be asked.
    pub(crate) async fn plan(&self, host: HostName) -> Result<CertPlan, String> {
        self.call(host, LinkReply::Plan).await
    }

    async fn call<T>(
        &self,
        host: HostName,
        reply: impl FnOnce(oneshot::Sender<Result<T, String>>) -> LinkReply,
    ) -> Result<T, String> {
        let (answer_in, answer) = oneshot::channel();
        let ends = || "the agent has gone meanwhile: try again".to_owned();
        self.calls.send(Call { host, reply: reply(answer_in) }).await.map_err(|_| ends())?;
        answer.await.map_err(|_| ends())?
    }
}

struct LinkTask {
    parts: LinkParts,
    calls: mpsc::Receiver<Call>,
    standing: watch::Sender<Arc<Standing>>,
    /// The agent's counts of failures, as it told them last.
    failures: Option<BTreeMap<FailureKind, u64>>,
    /// The calls that have no answer yet, by their numbers.
    waiting: HashMap<u64, LinkReply>,
    count: u64,
}

impl LinkTask {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut said = String::new();
        loop {
            let heard = &mut false;
            let problem = match self.talk(heard).await {
                Ok(()) => "the agent has ended the connection".to_owned(),
                Err(problem) => problem,
            };
            self.waiting.clear();
            if *heard {
                backoff.reset();
                said.clear();
            } else {
                // The loss of a connection is told only when the agent does not come back: it may only be restarting.
                self.show_problem(&problem);
                if said != problem {
                    tracing::error!(
                        problem,
                        "certificates are not looked after; the link to the agent is tried again"
                    );
                    said.clone_from(&problem);
                }
            }
            let pause = sleep(backoff.next_delay());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(call) = self.calls.recv() => call.reply.fails(problem.clone()),
                }
            }
        }
    }

    /// Talks with the agent until one of the two goes; sets `heard` when the agent has said how the hosts stand.
    async fn talk(&mut self, heard: &mut bool) -> Result<(), String> {
        let at = self.parts.socket.display().to_string();
        let broken = |error: io::Error| format!("cannot talk with the agent at `{at}`: {error}");
        let stream = UnixStream::connect(&self.parts.socket).await.map_err(broken)?;
        let (mut from, mut to) = stream.into_split();
        let (inbox_in, mut inbox) = mpsc::channel(16);
        let read = async {
            loop {
                match messages::read(&mut from).await.transpose() {
                    Some(message) if message.is_ok() => drop(inbox_in.send(message).await),
                    Some(message) => break drop(inbox_in.send(message).await),
                    None => break,
                }
            }
            // Messages that came before the end are acted on first.
            drop(inbox_in);
            pending::<Infallible>().await
        };
        let act = async {
            self.parts.hosts.mark_changed();
            loop {
                tokio::select! {
                    Ok(()) = self.parts.hosts.changed() => self.want(&mut to).await.map_err(broken)?,
                    Some(call) = self.calls.recv() => {
                        // The call may be about a host that has come just before.
                        if self.parts.hosts.has_changed().unwrap_or_default() {
                            self.want(&mut to).await.map_err(broken)?;
                        }
                        self.ask(call, &mut to).await.map_err(broken)?;
                    }
                    message = inbox.recv() => match message {
                        None => return Ok(()),
                        Some(Ok(ToServer::Refuse { why })) => return Err(why),
                        Some(message) => {
                            let message = message.map_err(broken)?;
                            self.hear(message, heard, &mut to).await.map_err(broken)?;
                        }
                    },
                }
            }
        };
        tokio::select! {
            ended = act => ended,
            never = read => match never {},
        }
    }

    async fn want(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let hosts = self.parts.hosts.borrow_and_update().to_vec();
        let (instance, acme) = (self.parts.instance.clone(), self.parts.acme.clone());
        send(to, &ToAgent::Want { instance, acme, hosts }).await
    }

    async fn ask(&mut self, call: Call, to: &mut OwnedWriteHalf) -> io::Result<()> {
        self.count += 1;
        let Call { host, reply } = call;
        let message = match &reply {
            LinkReply::Renewal { force, .. } => ToAgent::Renew { call: self.count, host, force: *force },
            LinkReply::Plan(_) => ToAgent::Plan { call: self.count, host },
        };
        self.waiting.insert(self.count, reply);
        send(to, &message).await
    }

    async fn hear(&mut self, message: ToServer, heard: &mut bool, to: &mut OwnedWriteHalf) -> io::Result<()> {
        match message {
            ToServer::Answer { version, answers } => {
                self.parts.challenges.replace(answers);
                send(to, &ToAgent::Answering { version }).await?;
            }
            ToServer::Hosts(hosts) => self.parts.challenges.answer_for(hosts),
            ToServer::Stand(standing) => {
                *heard = true;
                self.count_failures(&standing.failures);
                self.show(standing);
            }
            ToServer::Renewed { call, ended } => {
                if let Some(LinkReply::Renewal { ended: reply, .. }) = self.waiting.remove(&call) {
                    reply.send(ended).ok();
                }
            }
            ToServer::Planned { call, plan } => {
                if let Some(LinkReply::Plan(reply)) = self.waiting.remove(&call) {
                    reply.send(plan).ok();
                }
            }
            ToServer::Refuse { .. } => {}
        }
        Ok(())
    }

    /// Counts the failures that are new since the agent told them last. Failures from before this server's start are
    /// not counted.
    fn count_failures(&mut self, now: &BTreeMap<FailureKind, u64>) {
        let before = self.failures.replace(now.clone()).unwrap_or_else(|| now.clone());
        for (kind, count) in now {
            let old = before.get(kind).copied().unwrap_or_default();
            // A number below the last one comes from a restarted agent.
            let new = if *count < old { *count } else { count - old };
            (0..new).for_each(|_| self.parts.metrics.acme_failed(kind.name()));
        }
    }

    fn show(&self, standing: Standing) {
        let (metrics, now) = (&self.parts.metrics, SystemTime::now());
        let known: HashSet<&HostName> = standing.hosts.iter().map(|status| &status.host).collect();
        for status in self.standing.borrow().hosts.iter().filter(|status| !known.contains(&status.host)) {
            metrics.forget_acme(&status.host);
        }
        metrics.set_acme_orders(standing.hosts.iter().filter(|status| status.ordering).count());
        for status in &standing.hosts {
            if let Some(next) = status.next_try_at() {
                metrics.set_acme(&status.host, status.issued_at, next.max(now));
            }
        }
        self.standing.send_replace(Arc::new(standing));
    }

    /// Shows the agent's absence as the problem of each host, beside what is known of the host.
    fn show_problem(&self, problem: &str) {
        let before = self.standing.borrow().clone();
        let known: HashMap<&HostName, &HostStatus> =
            before.hosts.iter().map(|status| (&status.host, status)).collect();
        let status = |host: &HostName| {
            let of_problem = HostStatus::of_problem(host, problem.to_owned());
            match known.get(host) {
                Some(known) => {
                    HostStatus { problem: of_problem.problem, ordering: false, ..(*known).clone() }
                }
                None => of_problem,
            }
        };
        let hosts = self.parts.hosts.borrow().iter().map(status).collect();
        self.standing.send_replace(Arc::new(Standing { hosts, failures: BTreeMap::new() }));
    }
}

async fn send(to: &mut OwnedWriteHalf, message: &ToAgent) -> io::Result<()> {
    timeout(TAKING, messages::write(to, message)).await?
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the agent may take to take in a message.
const TAKING: Duration = Duration::from_secs(10);
