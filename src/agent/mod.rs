//! Owns certificates of authorities that speak ACME (RFC 8555): when they are ordered and renewed, how, and where the
//! pairs are left.
//!
//! Never here: which certificate answers a handshake (`certs`), or answering authorities (`challenges`).
//!
//! ```text
//! hosts ──▶ task ──events──▶ queue (whose turn) ─▶ host (states) ─▶ schedule (when)          pure: time is passed in
//!            │ ▲
//!            ▼ └── reports ── authorities (one after the other) ─▶ authority (one order) ─▶ solve, accounts, https
//!          state_files (attempts, orders), store (pairs)
//! ```
//!
//! An agent is a task of a server, or a program of its own for all servers of a machine: `machine`.

mod account_key;
mod accounts;
mod authorities;
mod authority;
mod begun_orders;
mod failure;
mod hook;
mod host;
mod https;
pub mod machine;
mod names;
mod plan;
mod queue;
mod schedule;
mod solve;
mod state_files;
mod status;
mod store;
mod sweeper;
mod task;
mod wording;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::api::CertPlan;
use crate::challenges::Challenges;
use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::acme::{Acme, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use account_key::AccountKey;
use accounts::Accounts;
use authorities::{Authorities, Entry};
use authority::AcmeAuthority;
use host::Manners;
use https::Https;
use plan::Planner;
use queue::{Queue, Rules};
use solve::Solver;
use state_files::StateFiles;
use sweeper::Sweeper;
use task::{Command, Renew, Task};

pub(crate) use begun_orders::BegunOrders;
pub(crate) use status::{HostStatus, Standing};
pub(crate) use store::Store;

/// The parts that the agent works with.
pub(crate) struct AgentParts {
    /// The settings of ACME.
    pub(crate) acme: Acme,
    /// The agent's own folder: account, attempts, open orders.
    pub(crate) state: PathBuf,
    /// The folder of the pairs, which servers watch.
    pub(crate) pairs: PathBuf,
    /// Whether the group of `pairs` may read the keys.
    pub(crate) shared: bool,
    /// The hosts that need certificates.
    pub(crate) hosts: watch::Receiver<Arc<[HostName]>>,
    /// Where answers to authorities are put up.
    pub(crate) challenges: Challenges,
    /// The orders of all agents that have the same account, where an authority counts them.
    pub(crate) begun: BegunOrders,
    /// Where attempts are counted.
    pub(crate) metrics: Metrics,
    pub(crate) clock: WallClock,
    /// The group of the agent's tasks.
    pub(crate) stop: TaskGroup,
}

/// The running agent. Dropping it does not end its task; [`TaskGroup`] does.
#[derive(Clone)]
pub(crate) struct Agent {
    commands: mpsc::Sender<Command>,
    planner: Arc<Planner>,
    standing: watch::Receiver<Arc<Standing>>,
}

impl Agent {
    /// Starts the agent as a task of its group; the agent asks no authority before.
    ///
    /// # Errors
    /// When a folder or the account's key cannot be used, or the file with roots cannot be read.
    pub(crate) async fn start(parts: AgentParts) -> io::Result<Self> {
        let stop = parts.stop.clone();
        let (agent, sweeper) = Self::start_task(parts).await?;
        sweeper.start(&stop);
        Ok(agent)
    }

    /// Starts the agent as a task; the sweeper, which forgets hosts, is returned without being started.
    async fn start_task(parts: AgentParts) -> io::Result<(Self, Sweeper)> {
        let AgentParts { acme, state, pairs, shared, hosts, challenges, begun, metrics, clock, stop } = parts;
        let opened = {
            let acme = acme.clone();
            spawn_blocking(move || -> io::Result<_> {
                let files = StateFiles::open(&state)?;
                let key = AccountKey::open(&state.join("account.pem"))?;
                let wrong = |root: &PathBuf, error: io::Error| {
                    io::Error::new(error.kind(), format!("tls.acme_root: `{}`: {error}", root.display()))
                };
                let https = Https::new(acme.root.as_deref()).map_err(|error| {
                    acme.root.as_ref().map_or_else(|| io::Error::other("no roots"), |root| wrong(root, error))
                })?;
                let store = Store::open(&pairs, shared)?;
                let begun_before = files.begun_orders();
                Ok((files, key, https, store, state, begun_before))
            })
        };
        let (files, key, https, store, state, begun_before) = opened.await.map_err(io::Error::other)??;
        challenges.set_thumbprint(&key.thumbprint);
        let accounts = Arc::new(Accounts::new(state, key, &acme, https));
        let planner = Arc::new(Planner { acme: acme.clone(), challenges: challenges.clone() });
        let solver = Solver { challenges, wish: acme.challenge, hook: acme.hook.clone() };
        let at = |directory: &str, files: Option<StateFiles>| AcmeAuthority {
            directory: directory.to_owned(),
            accounts: Arc::clone(&accounts),
            solver: solver.clone(),
            profile: acme.profile.clone(),
            files,
            account: Mutex::new(None),
        };
        let entries = acme.authorities.iter().map(|directory| Entry {
            directory: directory.clone(),
            authority: at(directory, Some(files.clone())),
            rehearsal: (directory == LETS_ENCRYPT).then(|| at(LETS_ENCRYPT_STAGING, None)),
        });
        let authorities = Arc::new(Authorities::new(entries.collect()));
        let (standing_in, standing) = watch::channel(Arc::default());
        let (commands_in, commands) = mpsc::channel(16);
        let sweeper = Sweeper {
            files: files.clone(),
            store: store.clone(),
            wanted: hosts.clone(),
            clock: clock.clone(),
        };
        let rules = rules(&acme);
        let begun = match rules.per_three_hours {
            Some(_) => {
                begun.recall(begun_before);
                begun
            }
            None => BegunOrders::default(),
        };
        let task = Task {
            queue: Queue::new(rules, begun, fastrand::u64(..)),
            acme,
            hosts,
            commands,
            authorities,
            files,
            store,
            metrics,
            clock,
            stop: stop.clone(),
            standing: standing_in,
            failures: BTreeMap::new(),
            unobtainable: BTreeMap::new(),
            under_way: HashMap::new(),
            waiting: HashMap::new(),
        };
        let watching = stop.clone();
        stop.spawn("acme", async move {
            tokio::select! {
                biased;
                () = watching.requested() => {}
                () = task.run() => {}
            }
        });
        Ok((Self { commands: commands_in, planner, standing }, sweeper))
    }

    /// How the certificates stand now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    /// How the certificates stand, as a channel that tells each change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// Asks for a new certificate now, whatever the host waits for; with `force` also while an authority wants to be
    /// left alone or too many orders were begun. Returns when the attempt has ended. Cancel-safe: the attempt goes on.
    ///
    /// # Errors
    /// Why there is no new certificate, in plain words; the one in use stays.
    pub(crate) async fn renew(&self, host: HostName, force: bool) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let ends = || "the agent ends".to_owned();
        self.commands.send(Command::Renew(Renew { host, force, reply })).await.map_err(|_| ends())?;
        answer.await.map_err(|_| ends())?
    }

    /// Makes the checks of an order for a host, in some seconds at most; nothing is ordered.
    pub(crate) async fn plan(&self, host: HostName) -> CertPlan {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Limits(host.clone(), reply)).await.ok();
        self.planner.plan(&host, answer.await.ok()).await
    }
}

/// The limits of orders: Let's Encrypt counts them; other authorities bear being asked more often.
fn rules(acme: &Acme) -> Rules {
    let counts = acme.authorities.iter().any(|directory| directory == LETS_ENCRYPT);
    Rules {
        manners: Manners { first_pause: Duration::from_secs(if counts { 120 } else { 5 }) },
        orders: acme.orders,
        per_minute: acme.orders_per_minute,
        per_three_hours: counts.then_some(250),
        authorities: acme.authorities.len(),
    }
}
