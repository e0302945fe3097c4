//! Owns the agent's task: the task looks at the clock and the hosts, makes the attempts whose turn has come, and says
//! how the certificates stand.
//!
//! Never here: what is decided (`queue`), or how an order goes (`authority`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::metrics::Metrics;
use crate::name::HostName;
use crate::spec::acme::Acme;
use crate::tasks::{TaskGroup, TaskHandle};
use crate::time::WallClock;

use super::authorities::{Attempted, Authorities};
use super::authority::{AcmeAuthority, Suggested, Wish};
use super::failure::{Failure, FailureKind};
use super::hook;
use super::host::{Effect, Event, HostState};
use super::names::Unobtainable;
use super::queue::Queue;
use super::schedule::{DAY, HOUR, Life, Window};
use super::state_files::{HostRecord, StateFiles};
use super::status::{HostStatus, Limits, Standing};
use super::store::Store;

/// The parts that the task works with.
pub(super) struct Task {
    pub(super) acme: Acme,
    pub(super) hosts: watch::Receiver<Arc<[HostName]>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) queue: Queue,
    pub(super) authorities: Arc<Authorities<AcmeAuthority>>,
    pub(super) files: StateFiles,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) clock: WallClock,
    pub(super) stop: TaskGroup,
    pub(super) standing: watch::Sender<Arc<Standing>>,
    /// Attempts that failed since the start, by kind.
    pub(super) failures: BTreeMap<FailureKind, u64>,
    /// Hosts that are wanted and can get no certificate.
    pub(super) unobtainable: BTreeMap<HostName, Unobtainable>,
    pub(super) under_way: HashMap<HostName, TaskHandle>,
    pub(super) waiting: HashMap<HostName, Vec<oneshot::Sender<Result<(), String>>>>,
}

/// A command to the task.
pub(super) enum Command {
    Renew(Renew),
    /// Tell the limits on orders, and how near an order for the host would be to each.
    Limits(HostName, oneshot::Sender<Limits>),
}

/// A request for a new certificate.
pub(super) struct Renew {
    pub(super) host: HostName,
    /// Whether the order is made although an authority wants to be left alone or too many orders were begun.
    pub(super) force: bool,
    /// The channel that gets the attempt's result.
    pub(super) reply: oneshot::Sender<Result<(), String>>,
}

/// The result of work that ran beside the task.
enum Report {
    Attempt(HostName, Attempted),
    Told(HostName, Result<Option<Suggested>, Failure>),
}

impl Task {
    /// Runs until the future is dropped, which may happen at any await: what an attempt needs to go on is on the disk.
    pub(super) async fn run(mut self) {
        let (reports_in, mut reports) = mpsc::channel(64);
        self.take_hosts().await;
        loop {
            let now = self.clock.now();
            self.begin_attempts(now, &reports_in).await;
            self.ask_authorities(now, &reports_in).await;
            self.show();
            let now = self.clock.now();
            let next = self.queue.next_at(now).duration_since(now).unwrap_or_default();
            tokio::select! {
                Ok(()) = self.hosts.changed() => self.take_hosts().await,
                Some(report) = reports.recv() => self.hear(report).await,
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = tokio::time::sleep(next.clamp(SHORTEST_PAUSE, HOUR)) => {}
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // The command may be about a host that has come just before.
        if self.hosts.has_changed().unwrap_or_default() {
            self.take_hosts().await;
        }
        match command {
            Command::Renew(renew) => self.renew(renew),
            Command::Limits(host, reply) => drop(reply.send(self.queue.limits(&host, self.clock.now()))),
        }
    }

    /// Takes up hosts that have come, and lets go of those that have gone.
    async fn take_hosts(&mut self) {
        let wanted: HashSet<HostName> = self.hosts.borrow_and_update().iter().cloned().collect();
        let now = self.clock.now();
        let gone: Vec<HostName> = self
            .queue
            .hosts()
            .map(|(host, _)| host)
            .filter(|host| !wanted.contains(*host))
            .cloned()
            .collect();
        for host in gone {
            self.let_go(&host, now).await;
        }
        self.unobtainable.retain(|host, _| wanted.contains(host));
        for host in wanted {
            if self.queue.get(&host).is_some() || self.unobtainable.contains_key(&host) {
                continue;
            }
            match Unobtainable::of(&host, &self.acme) {
                Some(why) => {
                    tracing::info!(%host, "no certificate is asked for: {why}");
                    self.unobtainable.insert(host, why);
                }
                None => self.take_up(host).await,
            }
        }
    }

    async fn take_up(&mut self, host: HostName) {
        let (store, of) = (self.store.clone(), host.clone());
        let look = move |files: &StateFiles| {
            let has_order = files.order(&of).is_some_and(|order| order.url.is_some());
            (store.pair(&of).map(|(life, _)| life), has_order, files.host(&of))
        };
        let (life, has_order, record) = self.on_disk(look).await.unwrap_or_default();
        let share = self.queue.share();
        let was_removed = record.as_ref().is_some_and(|record| record.removed.is_some());
        let state = match record {
            Some(record) => record.state.resumed(life, has_order, self.queue.manners(), share),
            None => HostState::new(life),
        };
        self.queue.insert(host.clone(), state);
        if was_removed {
            self.write_host_down(&host).await;
        }
    }

    /// Removes a host; its pair stays for a while, because the host may come again.
    async fn let_go(&mut self, host: &HostName, now: SystemTime) {
        if let Some(task) = self.under_way.remove(host) {
            task.abort();
        }
        self.tell(host, &Err(format!("{host} was removed")));
        let Some(state) = self.queue.get(host).cloned() else { return };
        self.queue.remove(host);
        self.metrics.forget_acme(host);
        self.write_down(HostRecord { host: host.clone(), state, removed: Some(now) }).await;
    }

    async fn begin_attempts(&mut self, now: SystemTime, reports: &mpsc::Sender<Report>) {
        let places = self.queue.authorities(now);
        let turns = self.queue.turns(now);
        if !turns.is_empty() {
            self.write_begun_orders_down().await;
        }
        for (host, effects) in turns {
            for effect in effects {
                match effect {
                    Effect::WriteDown => self.write_host_down(&host).await,
                    Effect::Order => self.order(&host, &places, reports.clone()).await,
                }
            }
        }
    }

    async fn order(&mut self, host: &HostName, places: &[usize], reports: mpsc::Sender<Report>) {
        let Some(state) = self.queue.get(host) else { return };
        let (attempt, known) = (state.failures, state.life.is_some());
        let by = state.issued_by.clone();
        let (store, of) = (self.store.clone(), host.clone());
        let chain = self.on_disk(move |_| store.pair(&of).map(|(_, chain)| chain)).await.flatten();
        let wish = Wish { host: host.clone(), attempt, replaces: chain.zip(by) };
        let (authorities, places) = (Arc::clone(&self.authorities), places.to_vec());
        let rehearse = !known || attempt > 1;
        tracing::info!(%host, attempt, "ordering a certificate");
        let handle = self.stop.spawn("certificate order", async move {
            let attempted = authorities.issue(&wish, &places, rehearse).await;
            reports.send(Report::Attempt(wish.host, attempted)).await.ok();
        });
        self.under_way.insert(host.clone(), handle);
    }

    async fn hear(&mut self, report: Report) {
        match report {
            Report::Attempt(host, attempted) => self.attempted(host, attempted).await,
            Report::Told(host, told) => self.told(&host, told).await,
        }
    }

    async fn attempted(&mut self, host: HostName, attempted: Attempted) {
        self.under_way.remove(&host);
        let now = self.clock.now();
        for failure in &attempted.others {
            tracing::warn!(%host, problem = failure.text, "an authority issued no certificate: the next one is asked");
            self.count(failure.kind);
            self.queue.leave_alone(failure, now);
        }
        let ended = match attempted.result {
            Ok(pem) => {
                let (store, of, by) = (self.store.clone(), host.clone(), pem.by.clone());
                let kept = self.on_disk(move |files| {
                    let kept = store.replace(&of, &pem.chain, &pem.key, now)?;
                    files.close_order(&of);
                    Ok::<Life, Failure>(kept)
                });
                let broken = || Failure::new(FailureKind::Local, "the certificate was not written");
                kept.await.unwrap_or_else(|| Err(broken())).map(|life| (life, by))
            }
            Err(failure) => Err(failure),
        };
        let (event, told) = match ended {
            Ok((life, by)) => {
                let days = life.until.duration_since(now).unwrap_or_default().as_secs() / DAY.as_secs();
                tracing::info!(%host, authority = by, days, "a new certificate is in the store");
                self.run_renewed(&host);
                (Event::Issued { life, by }, Ok(()))
            }
            Err(failure) => {
                self.count(failure.kind);
                let text = failure.text.clone();
                // A certificate may have been damaged on its way: the same order brings it once more.
                let keeps = failure.order_stays || failure.kind == FailureKind::Certificate;
                (Event::Failed(Failure { order_stays: keeps, ..failure }), Err(text))
            }
        };
        self.queue.on(&host, event, now);
        if let (Err(problem), Some(state)) = (&told, self.queue.get(&host)) {
            let again = state.due_at().duration_since(now).unwrap_or_default().as_secs();
            let has = if state.life.is_some() { "the one in use stays" } else { "there is none yet" };
            tracing::warn!(%host, problem, retry_in_s = again, "no new certificate; {has}");
        }
        self.write_host_down(&host).await;
        self.tell(&host, &told);
    }

    /// Asks authorities when they want their certificates to be renewed.
    async fn ask_authorities(&mut self, now: SystemTime, reports: &mpsc::Sender<Report>) {
        while let Some(host) = self.queue.to_ask(now) {
            let Some(state) = self.queue.get(&host) else { return };
            let Some(life) = state.life else { return };
            let by = state.issued_by.clone();
            // The authority is asked again at this time if it does not answer.
            let ask_at = Window::ask_again(now, life, HOUR * 6);
            self.queue.on(&host, Event::Told { moment: None, ask_at }, now);
            let Some(by) = by else { continue };
            let (store, of) = (self.store.clone(), host.clone());
            let Some(Some((_, chain))) = self.on_disk(move |_| store.pair(&of)).await else { continue };
            let (authorities, reports) = (Arc::clone(&self.authorities), reports.clone());
            self.stop.spawn("certificate renewal info", async move {
                let told = authorities.suggested(&by, &chain).await;
                reports.send(Report::Told(host, told)).await.ok();
            });
        }
    }

    async fn told(&mut self, host: &HostName, told: Result<Option<Suggested>, Failure>) {
        let suggested = match told {
            Ok(Some(suggested)) => suggested,
            Ok(None) => return,
            Err(failure) => {
                tracing::debug!(%host, problem = failure.text, "the authority did not say when to renew");
                return;
            }
        };
        let now = self.clock.now();
        let Some(state) = self.queue.get(host) else { return };
        let (Some(life), before) = (state.life, state.window.map(|window| window.moment)) else { return };
        let edge = |share| Window::of(suggested.start, suggested.end, share);
        let within = |moment: &SystemTime| {
            edge(0.0).zip(edge(1.0)).is_some_and(|(start, end)| start <= *moment && *moment <= end)
        };
        let share = self.queue.share();
        let moment = before.filter(within).or_else(|| edge(share));
        let ask_at = Window::ask_again(now, life, suggested.ask_after);
        self.queue.on(host, Event::Told { moment, ask_at }, now);
        self.write_host_down(host).await;
    }

    fn count(&mut self, kind: FailureKind) {
        self.metrics.acme_failed(kind.name());
        *self.failures.entry(kind).or_default() += 1;
    }

    fn renew(&mut self, renew: Renew) {
        let Renew { host, force, reply } = renew;
        let now = self.clock.now();
        if let Some(why) = self.unobtainable.get(&host) {
            reply.send(Err(why.to_string())).ok();
        } else if self.queue.get(&host).is_none() {
            reply
                .send(Err(format!(
                    "{host} is not a host of this server, or has no certificate of an authority"
                )))
                .ok();
        } else if let Some(why) = self.queue.objection(now).filter(|_| !force) {
            reply.send(Err(format!("{why}; --force asks all the same"))).ok();
        } else {
            self.queue.force(&host);
            self.waiting.entry(host).or_default().push(reply);
        }
    }

    fn tell(&mut self, host: &HostName, ended: &Result<(), String>) {
        for reply in self.waiting.remove(host).into_iter().flatten() {
            reply.send(ended.clone()).ok();
        }
    }

    fn run_renewed(&self, host: &HostName) {
        let Some(program) = self.acme.renewed.clone() else { return };
        let (host, folder): (HostName, PathBuf) = (host.clone(), self.store.folder_of(host));
        self.stop.spawn("after a new certificate", async move {
            let words = [host.as_str().as_ref(), folder.as_os_str()];
            if let Err(failure) = hook::run(&program, &words).await {
                tracing::warn!(%host, problem = failure.text, "the program that runs after a new certificate failed");
            }
        });
    }

    async fn write_host_down(&self, host: &HostName) {
        let Some(state) = self.queue.get(host).cloned() else { return };
        self.write_down(HostRecord { host: host.clone(), state, removed: None }).await;
    }

    /// Writes down when orders were begun, because an authority counts them over restarts, too.
    async fn write_begun_orders_down(&self) {
        let Some(times) = self.queue.counted_orders() else { return };
        let written = self.on_disk(move |files| files.save_begun_orders(&times)).await;
        if let Some(Err(error)) = written {
            tracing::error!(%error, "the times of orders cannot be written down");
        }
    }

    async fn write_down(&self, record: HostRecord) {
        let host = record.host.clone();
        let written = self.on_disk(move |files| files.save_host(&record)).await;
        if let Some(Err(error)) = written {
            tracing::error!(%host, %error, "the state of a certificate cannot be written down");
        }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateFiles) -> T + Send + 'static,
    ) -> Option<T> {
        let files = self.files.clone();
        spawn_blocking(move || work(&files)).await.ok()
    }

    fn show(&self) {
        let now = self.clock.now();
        let mut all: Vec<HostStatus> =
            self.queue.hosts().map(|(host, state)| HostStatus::of(host, state)).collect();
        all.extend(self.unobtainable.iter().map(|(host, why)| HostStatus::unobtainable(host, *why)));
        self.metrics.set_acme_orders(self.queue.in_flight());
        for status in &all {
            if let Some(next) = status.next_try_at() {
                self.metrics.set_acme(&status.host, status.issued_at, next.max(now));
            }
        }
        let standing = Standing { hosts: all, failures: self.failures.clone() };
        self.standing.send_if_modified(|shown| {
            let news = **shown != standing;
            if news {
                *shown = Arc::new(standing);
            }
            news
        });
    }
}

/// The task pauses at least so long, so that a clock that jumps, or a mistake, does not keep a core busy.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
