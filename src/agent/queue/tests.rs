//! A simulated year of many hosts, and single turns of the queue.

use std::collections::HashMap;

use super::super::failure::FailureKind;
use super::super::schedule::{DAY, Life};
use super::*;

const HOSTS: usize = 200;

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

fn rules() -> Rules {
    Rules {
        manners: Manners { first_pause: Duration::from_secs(120) },
        orders: NonZeroUsize::new(8).unwrap(),
        per_minute: NonZeroU32::new(30).unwrap(),
        per_three_hours: Some(250),
        authorities: 1,
    }
}

fn issued(life: Life) -> Event {
    Event::Issued { life, by: "https://ca.example/dir".into() }
}

fn host(number: usize) -> HostName {
    format!("h{number}.example.com").parse().unwrap()
}

/// An authority that fails as real ones do: single failures, days without an answer, limits with a Retry-After.
struct Authority {
    random: fastrand::Rng,
    down_until: SystemTime,
    next_outage: SystemTime,
    life: Duration,
    orders: Vec<SystemTime>,
    failed: HashMap<HostName, Vec<SystemTime>>,
    issued: HashMap<HostName, Vec<SystemTime>>,
}

impl Authority {
    fn new(seed: u64, life: Duration) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            down_until: start(),
            next_outage: start() + 5 * DAY,
            life,
            orders: Vec::new(),
            failed: HashMap::new(),
            issued: HashMap::new(),
        }
    }

    fn order(&mut self, host: &HostName, now: SystemTime) -> Event {
        if now >= self.next_outage {
            self.down_until = now + self.life.mul_f64(0.02 + 0.06 * self.random.f64());
            self.next_outage = self.down_until + self.life.mul_f64(0.1 + self.random.f64());
        }
        if now < self.down_until {
            return Event::Failed(Failure::new(FailureKind::Unreachable, "down"));
        }
        self.orders.push(now);
        match self.random.u32(0..100) {
            0..20 => {
                self.failed.entry(host.clone()).or_default().push(now);
                Event::Failed(Failure::new(FailureKind::Challenge, "unseen"))
            }
            20..30 => {
                let retry_after = Some(now + Duration::from_secs(self.random.u64(1..7200)));
                Event::Failed(Failure { retry_after, ..Failure::new(FailureKind::Busy, "busy") })
            }
            _ => {
                self.issued.entry(host.clone()).or_default().push(now);
                issued(Life { from: now - HOUR.min(self.life / 100), until: now + self.life })
            }
        }
    }

    fn most_in(times: &[SystemTime], span: Duration) -> usize {
        (0..times.len())
            .map(|first| times[first..].iter().take_while(|at| **at < times[first] + span).count())
            .max()
            .unwrap_or(0)
    }
}

/// Lets `span` pass, with attempts of some seconds. Returns when each host first had no valid pair.
fn simulate(seed: u64, life: Duration, span: Duration, rules: Rules) -> (Authority, Vec<String>) {
    let mut queue = Queue::new(rules, BegunOrders::default(), seed);
    let mut authority = Authority::new(seed, life);
    for number in 0..HOSTS {
        queue.insert(host(number), HostState::new(None));
    }
    let (mut now, mut expired) = (start(), Vec::new());
    let mut under_way: Vec<(SystemTime, HostName)> = Vec::new();
    let mut last_look = now;
    while now < start() + span {
        under_way.sort();
        while under_way.first().is_some_and(|(end, _)| *end <= now) {
            let (_, host) = under_way.remove(0);
            let event = authority.order(&host, now);
            queue.on(&host, event, now);
        }
        while let Some(asked) = queue.to_ask(now) {
            queue.on(&asked, Event::Told { moment: None, ask_at: now + life / 3 }, now);
        }
        for (host, effects) in queue.turns(now) {
            assert_eq!(effects, [Effect::WriteDown, Effect::Order]);
            let takes = Duration::from_secs(authority.random.u64(1..30)).min(life / 50);
            under_way.push((now + takes, host));
        }
        assert!(under_way.len() <= 8, "{} orders at once", under_way.len());
        let next = queue.next_at(now).min(under_way.iter().map(|(end, _)| *end).min().unwrap_or(far()));
        assert!(next > now || !under_way.is_empty(), "nothing is waited for");
        now = next.max(now + Duration::from_millis(500));
        if now > last_look + life / 50 {
            last_look = now;
            for (host, state) in queue.hosts() {
                if state.life.is_some_and(|life| life.until <= now) {
                    expired.push(format!("{host} at {:?}: {state:?}", now.duration_since(start())));
                }
            }
        }
    }
    for (host, state) in queue.hosts() {
        assert!(state.life.is_some(), "{host} never got one: {state:?}");
    }
    (authority, expired)
}

#[test]
fn in_a_year_nothing_expires_and_no_limit_of_the_authority_is_passed() {
    for (seed, days) in [(1, 90), (2, 45), (3, 6)] {
        let (authority, expired) = simulate(seed, days * DAY, 365 * DAY, rules());
        assert_eq!(expired, Vec::<String>::new(), "seed {seed}, {days} days");
        let orders = Authority::most_in(&authority.orders, 3 * HOUR);
        assert!(orders <= 300, "seed {seed}: {orders} orders in three hours");
        for (host, times) in &authority.failed {
            let most = Authority::most_in(times, HOUR);
            assert!(most <= 5, "seed {seed}: {host} failed {most} times in an hour");
        }
        for (host, times) in &authority.issued {
            let most = Authority::most_in(times, 7 * DAY);
            assert!(most <= 5, "seed {seed}: {host} got {most} in a week");
        }
    }
}

#[test]
fn certificates_of_four_minutes_are_renewed_in_time_too() {
    let lively = Rules {
        manners: Manners { first_pause: Duration::from_secs(5) },
        per_minute: NonZeroU32::new(6000).unwrap(),
        per_three_hours: None,
        orders: NonZeroUsize::new(8).unwrap(),
        authorities: 1,
    };
    let mut queue = Queue::new(lively, BegunOrders::default(), 7);
    queue.insert(host(0), HostState::new(None));
    let (mut now, mut failing) = (start(), 0);
    for round in 0..1000 {
        now = queue.next_at(now).max(now);
        while let Some(asked) = queue.to_ask(now) {
            queue.on(&asked, Event::Told { moment: None, ask_at: now + DAY }, now);
        }
        for (host, _) in queue.turns(now) {
            if let Some(life) = queue.get(&host).unwrap().life {
                assert!(now < life.until, "round {round}");
            }
            failing = if failing < 4 { failing + 1 } else { 0 };
            let event = match failing {
                1..=3 => Event::Failed(Failure::new(FailureKind::Unreachable, "down")),
                _ => issued(Life { from: now, until: now + Duration::from_secs(240) }),
            };
            queue.on(&host, event, now);
        }
    }
}

#[test]
fn a_forced_host_has_its_turn_beside_all_limits() {
    let one = Rules { orders: NonZeroUsize::MIN, per_minute: NonZeroU32::MIN, ..rules() };
    let mut queue = Queue::new(one, BegunOrders::default(), 1);
    queue.insert(host(0), HostState::new(None));
    queue.insert(host(1), HostState::new(None));
    assert_eq!(queue.turns(start()).len(), 1);
    assert_eq!(queue.turns(start()).len(), 0, "one at a time");
    queue.force(&host(0));
    assert_eq!(queue.turns(start()).len(), 0, "it is being ordered already");
    queue.force(&host(1));
    let turns = queue.turns(start());
    assert_eq!(turns.iter().map(|(host, _)| host.clone()).collect::<Vec<_>>(), [host(1)]);
}

#[test]
fn a_busy_authority_is_left_alone_by_all_and_the_next_one_is_asked() {
    let mut queue = Queue::new(Rules { authorities: 2, ..rules() }, BegunOrders::default(), 1);
    for number in 0..20 {
        queue.insert(host(number), HostState::new(None));
    }
    assert_eq!(queue.turns(start()).len(), 8);
    let busy = |authority| {
        let retry_after = Some(start() + Duration::from_secs(600));
        Event::Failed(Failure { retry_after, authority, ..Failure::new(FailureKind::Busy, "busy") })
    };
    queue.on(&host(0), busy(0), start());
    assert_eq!(queue.authorities(start()), [1]);
    assert_eq!(queue.turns(start()).len(), 1);
    queue.on(&host(1), busy(1), start());
    assert_eq!(queue.turns(start() + Duration::from_secs(300)).len(), 0);
    assert_eq!(queue.turns(start() + Duration::from_secs(601)).len(), 1, "seven are under way");
}

#[test]
fn queues_of_one_account_count_their_orders_together_and_over_a_restart() {
    let begun = BegunOrders::default();
    let lively =
        || Rules { orders: NonZeroUsize::new(1000).unwrap(), per_minute: NonZeroU32::MAX, ..rules() };
    let queue = |begun: &BegunOrders| {
        let mut queue = Queue::new(lively(), begun.clone(), 1);
        (0..200).for_each(|number| queue.insert(host(number), HostState::new(None)));
        queue
    };
    let (mut first, mut second) = (queue(&begun), queue(&begun));
    assert_eq!(first.turns(start()).len(), 200);
    assert_eq!(second.turns(start() + HOUR).len(), 50, "250 in three hours");
    let kept = second.counted_orders().unwrap();

    let restarted = BegunOrders::default();
    restarted.recall(kept);
    let mut third = queue(&restarted);
    assert_eq!(third.turns(start() + 2 * HOUR).len(), 0);
    assert_eq!(third.next_at(start() + 2 * HOUR), start() + 3 * HOUR);
    assert_eq!(third.turns(start() + 3 * HOUR).len(), 200, "those of the first hour count no more");
}
