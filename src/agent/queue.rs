//! Owns the order of hosts: whose turn it is, how many orders may begin at once and in a minute, and which authorities
//! want to be left alone.
//!
//! Pure: the time and the randomness are passed in. Never here: ordering.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, SystemTime};

use crate::name::HostName;

use super::begun_orders::BegunOrders;
use super::failure::Failure;
use super::host::{Effect, Event, HostState, Manners};
use super::schedule::{HOUR, far};
use super::status::Limits;

/// The limits that the queue keeps to.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) manners: Manners,
    /// Orders at the same time.
    pub(super) orders: NonZeroUsize,
    /// Orders begun in a minute.
    pub(super) per_minute: NonZeroU32,
    /// Orders begun in three hours, where an authority counts them (Let's Encrypt: 300 for an account).
    pub(super) per_three_hours: Option<u32>,
    /// How many authorities there are.
    pub(super) authorities: usize,
}

/// All hosts and their turns.
pub(super) struct Queue {
    rules: Rules,
    hosts: BTreeMap<HostName, HostState>,
    /// Hosts for which somebody asked for a new certificate.
    forced: BTreeSet<HostName>,
    /// When orders were begun, also by other queues of the same account.
    begun: BegunOrders,
    /// Until when each authority wants to be left alone.
    quiet_until: Vec<SystemTime>,
    random: fastrand::Rng,
}

impl Queue {
    pub(super) fn new(rules: Rules, begun: BegunOrders, seed: u64) -> Self {
        let quiet_until = vec![SystemTime::UNIX_EPOCH; rules.authorities];
        Self {
            rules,
            hosts: BTreeMap::new(),
            forced: BTreeSet::new(),
            begun,
            quiet_until,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn manners(&self) -> Manners {
        self.rules.manners
    }

    /// A random number from 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.random.f64()
    }

    pub(super) fn insert(&mut self, host: HostName, state: HostState) {
        self.hosts.insert(host, state);
    }

    /// Forgets a host; an attempt that is under way is of no use any more.
    pub(super) fn remove(&mut self, host: &HostName) {
        self.hosts.remove(host);
        self.forced.remove(host);
    }

    pub(super) fn get(&self, host: &HostName) -> Option<&HostState> {
        self.hosts.get(host)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = (&HostName, &HostState)> {
        self.hosts.iter()
    }

    /// When orders were begun, where an authority counts them.
    pub(super) fn counted_orders(&self) -> Option<Vec<SystemTime>> {
        self.rules.per_three_hours.map(|_| self.begun.to_vec())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.hosts.values().filter(|state| state.is_ordering()).count()
    }

    /// Makes it the host's turn at once, whatever the host waits for and however many other hosts there are.
    pub(super) fn force(&mut self, host: &HostName) {
        if self.hosts.get(host).is_some_and(|state| !state.is_ordering()) {
            self.forced.insert(host.clone());
        }
    }

    /// Why no order may begin now, but for one that is forced; `None` when one may begin.
    pub(super) fn objection(&mut self, now: SystemTime) -> Option<String> {
        let wait = |until: SystemTime| until.duration_since(now).unwrap_or_default().as_secs() + 1;
        if self.open(now).is_empty() {
            let until = self.quiet_until.iter().min().copied().unwrap_or(now);
            return Some(format!("the authority wants to be left alone for {} s more", wait(until)));
        }
        let room = self.room_at(now);
        (self.places(now) == 0).then(|| match room < far() {
            true => format!("so many orders were begun that the next one waits for {} s", wait(room)),
            false => format!("{} orders are under way", self.in_flight()),
        })
    }

    /// The limits on orders, and how near an order for this host would be to each.
    pub(super) fn limits(&mut self, host: &HostName, now: SystemTime) -> Limits {
        let objection = self.objection(now);
        let minute = self.begun.count_after(now - MINUTE);
        Limits {
            objection,
            minute: (minute, self.rules.per_minute.get() as usize),
            three_hours: self.rules.per_three_hours.map(|most| (self.begun.count(), most as usize)),
            failures: self.get(host).map_or(0, |state| state.failures),
        }
    }

    /// The authorities that may be asked now, by their places.
    fn open(&self, now: SystemTime) -> Vec<usize> {
        (0..self.rules.authorities).filter(|place| self.quiet_until[*place] <= now).collect()
    }

    /// The authorities that an attempt asks which begins now. For a host that somebody asked for, they are all
    /// authorities when each wants to be left alone.
    pub(super) fn authorities(&self, now: SystemTime) -> Vec<usize> {
        let open = self.open(now);
        if open.is_empty() { (0..self.rules.authorities).collect() } else { open }
    }

    /// The hosts whose turn has come, with the actions for each.
    pub(super) fn turns(&mut self, now: SystemTime) -> Vec<(HostName, Vec<Effect>)> {
        let mut turns: Vec<HostName> = std::mem::take(&mut self.forced).into_iter().collect();
        let places = self.places(now);
        if places > 0 {
            let waiting =
                self.hosts.iter().filter(|(host, state)| state.due_at() <= now && !turns.contains(host));
            let mut due: Vec<_> = waiting.map(|(host, state)| (state.due_at(), host.clone())).collect();
            due.sort();
            turns.extend(due.into_iter().take(places).map(|(_, host)| host));
        }
        turns
            .into_iter()
            .filter_map(|host| {
                self.begun.note(now);
                let effects = self.on(&host, Event::Begun, now)?;
                Some((host, effects))
            })
            .collect()
    }

    /// Passes an event on to a host's state, and returns the actions that follow; `None` when the host is unknown.
    pub(super) fn on(&mut self, host: &HostName, event: Event, now: SystemTime) -> Option<Vec<Effect>> {
        if let Event::Failed(failure) = &event {
            self.leave_alone(failure, now);
        }
        let share = self.random.f64();
        let state = self.hosts.get_mut(host)?;
        let (next, effects) = state.clone().on(event, now, self.rules.manners, share);
        *state = next;
        Some(effects)
    }

    /// When the queue has something to do next.
    pub(super) fn next_at(&self, now: SystemTime) -> SystemTime {
        if !self.forced.is_empty() {
            return now;
        }
        let due = self.hosts.values().map(HostState::due_at).min().unwrap_or(far());
        let ask = self.hosts.values().filter_map(HostState::ask_at).min().unwrap_or(far());
        due.max(self.room_at(now)).min(ask)
    }

    /// A host about whose renewal its authority is to be asked now.
    pub(super) fn to_ask(&self, now: SystemTime) -> Option<HostName> {
        let asked = |state: &HostState| state.ask_at().filter(|at| *at <= now);
        let next = self.hosts.iter().filter_map(|(host, state)| Some((asked(state)?, host))).min();
        next.map(|(_, host)| host.clone())
    }

    /// How many orders may begin now.
    fn places(&mut self, now: SystemTime) -> usize {
        self.begun.forget_old(now);
        if self.open(now).is_empty() {
            return 0;
        }
        let minute = self.begun.count_after(now - MINUTE);
        let of_minute = (self.rules.per_minute.get() as usize).saturating_sub(minute);
        let of_hours = self
            .rules
            .per_three_hours
            .map_or(usize::MAX, |most| (most as usize).saturating_sub(self.begun.count()));
        self.rules.orders.get().saturating_sub(self.in_flight()).min(of_minute).min(of_hours)
    }

    /// When another order may begin. The end of an order that is under way is told by an event.
    fn room_at(&self, now: SystemTime) -> SystemTime {
        let quiet = self.quiet_until.iter().min().copied().unwrap_or(now);
        let nth = |most: usize, span: Duration| self.begun.nth_last(most).map_or(now, |at| at + span);
        let minute = nth(self.rules.per_minute.get() as usize, MINUTE);
        let hours = self.rules.per_three_hours.map_or(now, |most| nth(most as usize, 3 * HOUR));
        let full = if self.in_flight() >= self.rules.orders.get() { far() } else { now };
        quiet.max(minute).max(hours).max(full)
    }

    /// Keeps all hosts from a busy authority for a while, although its answer may have been meant for one host.
    pub(super) fn leave_alone(&mut self, failure: &Failure, now: SystemTime) {
        let Some(until) = failure.retry_after.filter(|_| failure.kind.is_of_authority()) else { return };
        if let Some(quiet) = self.quiet_until.get_mut(failure.authority) {
            *quiet = until.min(now + HOUR).max(*quiet);
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
