//! Owns the registered servers and their wishes: the servers that are connected, an agent for each kind of ACME
//! settings among them, and whether any server is still connected.
//!
//! Never here: connections (`conversation`), or getting certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::agent::state_files::StateFiles;
use crate::agent::store::Store;
use crate::agent::sweeper::Sweeper;
use crate::agent::{Agent, AgentParts, BegunOrders};
use crate::challenges::Challenges;
use crate::metrics::Metrics;
use crate::name::{HostName, InstanceName};
use crate::spec::acme::Acme;
use crate::tasks::TaskGroup;
use crate::time::WallClock;

use super::roots_own;

/// The parts that the registrations work with.
pub(super) struct Parts {
    /// The agent's own folder.
    pub(super) state: PathBuf,
    /// The folder of the pairs.
    pub(super) pairs: PathBuf,
    pub(super) challenges: Challenges,
    pub(super) clock: WallClock,
    pub(super) stop: TaskGroup,
}

/// All servers, with the hosts that each wants certificates for.
pub(super) struct Registrations {
    parts: Parts,
    /// The registered servers; the lock is held while a server registers, also while an agent for it is started.
    state: Mutex<RegistrationState>,
    /// The orders of all agents of this machine, which share one account.
    begun: BegunOrders,
    /// The hosts of all servers, each once.
    hosts: watch::Sender<Arc<[HostName]>>,
    connections: watch::Sender<usize>,
}

#[derive(Default)]
struct RegistrationState {
    servers: BTreeMap<InstanceName, Registration>,
    groups: Vec<Group>,
    /// How many registrations there have been; each takes its number from here.
    count: u64,
}

struct Registration {
    /// The registration's number, which tells it from another one of a server with this name.
    number: u64,
    acme: Acme,
    hosts: Vec<HostName>,
}

/// The servers that have the same settings; one agent gets their certificates.
struct Group {
    acme: Acme,
    agent: Agent,
    hosts: watch::Sender<Arc<[HostName]>>,
}

impl Registrations {
    /// Makes the folders where they are missing; no server is registered yet. Blocks on the disk.
    ///
    /// # Errors
    /// The file system's error.
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let hosts = watch::Sender::new(Arc::from([]));
        let sweeper = Sweeper {
            files: StateFiles::open(&parts.state)?,
            store: Store::open(&parts.pairs, true)?,
            wanted: hosts.subscribe(),
            clock: parts.clock.clone(),
        };
        sweeper.start(&parts.stop);
        Ok(Self {
            parts,
            state: Mutex::default(),
            begun: BegunOrders::default(),
            hosts,
            connections: watch::Sender::new(0),
        })
    }

    /// Registers the wishes of a server, in the place of its earlier ones. Returns the agent for its settings, and a
    /// number for [`leave`](Self::leave).
    ///
    /// # Errors
    /// Why nothing is done for the server, in a sentence.
    pub(super) async fn register(
        &self,
        instance: InstanceName,
        acme: Acme,
        hosts: Vec<HostName>,
    ) -> Result<(Agent, u64), String> {
        let checked = acme.clone();
        spawn_blocking(move || roots_own::check(&checked)).await.map_err(|error| error.to_string())??;
        let mut state = self.state.lock().await;
        let agent = match state.groups.iter().find(|group| group.acme == acme) {
            Some(group) => group.agent.clone(),
            None => {
                let group = self.group(acme.clone()).await.map_err(|error| error.to_string())?;
                let agent = group.agent.clone();
                state.groups.push(group);
                agent
            }
        };
        state.count += 1;
        let number = state.count;
        tracing::info!(%instance, hosts = hosts.len(), "a server wants certificates");
        state.servers.insert(instance, Registration { number, acme, hosts });
        self.share_out(&state);
        Ok((agent, number))
    }

    /// Removes the registration of a server that has gone; does nothing when the server has registered again.
    pub(super) async fn leave(&self, instance: &InstanceName, number: u64) {
        let mut state = self.state.lock().await;
        if state.servers.get(instance).is_some_and(|own| own.number == number) {
            state.servers.remove(instance);
            tracing::info!(%instance, "a server has gone");
            self.share_out(&state);
        }
    }

    /// The hosts of all servers, as a channel that tells each change.
    pub(super) fn hosts(&self) -> watch::Receiver<Arc<[HostName]>> {
        self.hosts.subscribe()
    }

    pub(super) fn challenges(&self) -> &Challenges {
        &self.parts.challenges
    }

    /// The group of tasks of the program.
    pub(super) fn stop(&self) -> &TaskGroup {
        &self.parts.stop
    }

    /// Counts a connection for as long as the guard lives.
    pub(super) fn connect(self: &Arc<Self>) -> Connected {
        self.connections.send_modify(|count| *count += 1);
        Connected(Arc::clone(self))
    }

    /// Returns when no server has been connected for `span`. Cancel-safe.
    pub(super) async fn unused_for(&self, span: Duration) {
        let mut connections = self.connections.subscribe();
        loop {
            // The sender lives in `self`: waiting cannot fail.
            connections.wait_for(|count| *count == 0).await.ok();
            if timeout(span, connections.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    async fn group(&self, acme: Acme) -> io::Result<Group> {
        let (hosts, wanted) = watch::channel(Arc::from([]));
        let parts = AgentParts {
            acme: acme.clone(),
            state: self.parts.state.clone(),
            pairs: self.parts.pairs.clone(),
            shared: true,
            hosts: wanted,
            challenges: self.parts.challenges.clone(),
            begun: self.begun.clone(),
            // Each server counts for itself what it is told; these metrics are shown nowhere.
            metrics: Metrics::new(),
            clock: self.parts.clock.clone(),
            stop: self.parts.stop.clone(),
        };
        let (agent, _) = Agent::start_task(parts).await?;
        Ok(Group { acme, agent, hosts })
    }

    /// Tells each agent its hosts. A host that several servers have belongs to the first of them by name.
    fn share_out(&self, state: &RegistrationState) {
        let mut all = BTreeSet::new();
        let mut shares: Vec<Vec<HostName>> = vec![Vec::new(); state.groups.len()];
        for server in state.servers.values() {
            let Some(place) = state.groups.iter().position(|group| group.acme == server.acme) else {
                continue;
            };
            let new = server.hosts.iter().filter(|host| all.insert((*host).clone()));
            shares[place].extend(new.cloned().collect::<Vec<_>>());
        }
        for (group, mut hosts) in state.groups.iter().zip(shares) {
            hosts.sort();
            set(&group.hosts, hosts.into());
        }
        set(&self.hosts, all.into_iter().collect());
    }
}

fn set(place: &watch::Sender<Arc<[HostName]>>, hosts: Arc<[HostName]>) {
    place.send_if_modified(|told| {
        let news = *told != hosts;
        *told = hosts;
        news
    });
}

/// A connection; see [`Registrations::connect`].
pub(super) struct Connected(Arc<Registrations>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.send_modify(|count| *count -= 1);
    }
}
