//! Owns a server's connection at the agent's end: the agent takes in the server's wishes, and tells it how its
//! certificates stand.
//!
//! Never here: what other servers want (`registrations`).

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::agent::{Agent, Standing};
use crate::name::{HostName, InstanceName};

use super::messages::{self, ToAgent, ToServer};
use super::registrations::Registrations;

/// A registered server: the agent for its settings, and its hosts.
#[derive(Clone)]
struct Registered {
    agent: Agent,
    hosts: Arc<HashSet<HostName>>,
}

/// Talks with a server until it goes. The server's hosts are looked after for [`RESTARTING`] longer, because it may
/// only be restarting.
pub(super) async fn hold(stream: UnixStream, registrations: Arc<Registrations>) {
    let _connected = registrations.connect();
    let mut registration = None;
    if let Err(error) = talk(stream, &registrations, &mut registration).await {
        tracing::warn!(%error, "a server's connection broke off");
    }
    if let Some((instance, number)) = registration {
        sleep(RESTARTING).await;
        registrations.leave(&instance, number).await;
    }
}

async fn talk(
    stream: UnixStream,
    registrations: &Arc<Registrations>,
    registration: &mut Option<(InstanceName, u64)>,
) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let follower = registrations.challenges().follow();
    let (outbox, mut outgoing) = mpsc::channel(16);
    let (registered_in, registered) = watch::channel(None);
    let read = async {
        while let Some(message) = messages::read(&mut from).await? {
            match message {
                ToAgent::Want { instance, acme, hosts } => {
                    let set = Arc::new(hosts.iter().cloned().collect());
                    match registrations.register(instance.clone(), acme, hosts).await {
                        Ok((agent, number)) => {
                            *registration = Some((instance, number));
                            registered_in.send_replace(Some(Registered { agent, hosts: set }));
                        }
                        Err(why) => {
                            tracing::error!(%instance, problem = why, "nothing is done for a server");
                            outbox.send(ToServer::Refuse { why }).await.ok();
                        }
                    }
                }
                ToAgent::Answering { version } => follower.has_seen(version),
                ToAgent::Renew { call, host, force } => {
                    let (agent, outbox) = (agent_of(&registered), outbox.clone());
                    registrations.stop().spawn("renewal", async move {
                        let ended = match agent {
                            Ok(agent) => agent.renew(host, force).await,
                            Err(why) => Err(why),
                        };
                        outbox.send(ToServer::Renewed { call, ended }).await.ok();
                    });
                }
                ToAgent::Plan { call, host } => {
                    let (agent, outbox) = (agent_of(&registered), outbox.clone());
                    registrations.stop().spawn("plan", async move {
                        let plan = match agent {
                            Ok(agent) => Ok(agent.plan(host).await),
                            Err(why) => Err(why),
                        };
                        outbox.send(ToServer::Planned { call, plan }).await.ok();
                    });
                }
            }
        }
        Ok(())
    };
    let push = async {
        let (mut version, mut told) = (0, None);
        let (mut hosts, mut registered) = (registrations.hosts(), registered.clone());
        hosts.mark_changed();
        loop {
            let current: Option<Registered> = registered.borrow_and_update().clone();
            let message = tokio::select! {
                (latest, answers) = follower.after(version) => {
                    version = latest;
                    ToServer::Answer { version, answers }
                }
                Ok(()) = hosts.changed() => ToServer::Hosts(hosts.borrow_and_update().to_vec()),
                Ok(()) = registered.changed() => continue,
                standing = other_standing(current.as_ref(), told.as_ref()) => {
                    told = Some(standing.clone());
                    ToServer::Stand(standing)
                }
            };
            if outbox.send(message).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some(message) = outgoing.recv().await {
            timeout(TAKING, messages::write(&mut to, &message)).await??;
            if matches!(message, ToServer::Refuse { .. }) {
                return Ok(());
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
        ended = push => ended,
    }
}

fn agent_of(registered: &watch::Receiver<Option<Registered>>) -> Result<Agent, String> {
    let agent = registered.borrow().as_ref().map(|registered| registered.agent.clone());
    agent.ok_or_else(|| "the agent does not know this server yet".to_owned())
}

/// Returns how a server's certificates stand as soon as that differs from what the server was told. Cancel-safe.
async fn other_standing(registered: Option<&Registered>, told: Option<&Standing>) -> Standing {
    let Some(Registered { agent, hosts }) = registered else { return std::future::pending().await };
    let mut standing = agent.watch();
    loop {
        let own = standing.borrow_and_update().of(hosts);
        if told != Some(&own) {
            return own;
        }
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// How long a server may take to come back before its hosts count as gone.
const RESTARTING: Duration = Duration::from_secs(15);
/// How long a server may take to take in a message.
const TAKING: Duration = Duration::from_secs(10);
