//! Random histories of a pool, and the edges that are worth a name.

#![allow(clippy::disallowed_methods, reason = "every task is awaited or aborted here")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::*;
use crate::metrics::AppMetrics;
use crate::name::{AppName, RequestId};

fn claim(not: Option<WorkerId>) -> Claim {
    let in_flight = InFlightRequest {
        id: RequestId::random(),
        method: Method::GET,
        target: PathAndQuery::from_static("/"),
        since: Instant::now(),
    };
    Claim { in_flight, client: None, deadline: Instant::now() + Duration::from_secs(10), not, terms: None }
}

/// A claim of the client with this number; 0: of an unnamed client.
fn claim_of(client: u8) -> Claim {
    Claim { client: net(client), ..claim(None) }
}

fn net(client: u8) -> Option<ClientNet> {
    (client > 0).then(|| ClientNet::of([10, 0, 0, client].into()))
}

fn member(worker: u64, generation: u64, concurrency: u32) -> Arc<Member> {
    let address = Address::Unix(format!("/nowhere/{worker}").into());
    let concurrency = NonZeroU32::new(concurrency).unwrap();
    let app = (AppName::parse("blog").unwrap(), AppMetrics::default());
    Arc::new(Member::new(app, WorkerId(worker), GenerationId(generation), address, concurrency, 2))
}

/// A worker of generation 1 that may hold so many tunnels.
fn member_with(worker: u64, tunnels: u32) -> Arc<Member> {
    let mut member = member(worker, 1, 1);
    Arc::get_mut(&mut member).unwrap().tunnels = tunnels;
    member
}

/// A pool with workers 1 to `count` of generation 1.
fn pool(count: u64, max_queue: usize) -> (Pool, PoolWriter) {
    let (pool, writer) = Pool::new(max_queue);
    writer.promote(GenerationId(1));
    for worker in 1..=count {
        writer.publish(member(worker, 1, 1), None);
    }
    (pool, writer)
}

fn in_flight(writer: &PoolWriter) -> usize {
    writer.standings().iter().map(|standing| standing.in_flight).sum()
}

#[tokio::test(start_paused = true)]
async fn the_most_recently_freed_worker_is_taken_first() {
    let (pool, _writer) = pool(3, 10);
    let (first, second) = (pool.claim(claim(None)).await.unwrap(), pool.claim(claim(None)).await.unwrap());
    let freed = second.member().worker;
    drop(first);
    drop(second);
    assert_eq!(pool.claim(claim(None)).await.unwrap().member().worker, freed);
}

#[tokio::test(start_paused = true)]
async fn of_workers_that_take_several_the_one_with_the_least_in_hand_is_taken() {
    let (pool, writer) = pool(0, 10);
    for worker in 1..=3 {
        writer.publish(member(worker, 1, 4), None);
    }
    let mut leases = Vec::new();
    for round in 1..=4 {
        for _ in 0..3 {
            leases.push(pool.claim(claim(None)).await.unwrap());
        }
        assert!(writer.standings().iter().all(|standing| standing.in_flight == round), "{round}");
    }
    let second = WorkerId(2);
    leases.retain(|lease| lease.member().worker != second);
    for _ in 0..4 {
        leases.push(pool.claim(claim(None)).await.unwrap());
        assert_eq!(leases.last().unwrap().member().worker, second, "the others are full");
    }
    assert_eq!(in_flight(&writer), 12);
}

#[tokio::test(start_paused = true)]
async fn who_holds_the_workers_is_told_once_a_minute() {
    let (pool, _writer) = pool(2, 10);
    assert!(pool.saturation(Instant::now()).is_none(), "nobody does");
    let first = pool.claim(claim(None)).await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    let _second = pool.claim(claim(None)).await.unwrap();
    let saturation = pool.saturation(Instant::now()).unwrap();
    assert_eq!((saturation.workers, saturation.seats, saturation.worker), (2, 1, first.member().worker));
    assert!(pool.saturation(Instant::now()).is_none(), "that was told");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(pool.saturation(Instant::now()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_worker_in_doubt_is_told_of_once_until_that_is_settled() {
    let (pool, writer) = pool(0, 10);
    writer.publish(member(1, 1, 2), None);
    let (one, two) = (pool.claim(claim(None)).await.unwrap(), pool.claim(claim(None)).await.unwrap());
    one.doubt();
    two.doubt();
    assert!(writer.standings()[0].doubted);
    writer.settle(WorkerId(1), None);
    assert!(!writer.standings()[0].doubted && writer.standings()[0].routable);
    two.doubt();
    writer.settle(WorkerId(1), Some(WorkerFault::TooSlow));
    assert_eq!(writer.standings()[0].condemned, Some(WorkerFault::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn who_gives_a_worker_back_learns_whether_somebody_waited_for_it() {
    let (pool, _writer) = pool(1, 10);
    let first = pool.claim(claim(None)).await.unwrap();
    assert!(!first.waited());
    let waiting = pool.claim(claim(None));
    let gone = pool.claim(claim(None));
    assert!(first.hand_on());
    let second = waiting.await.unwrap();
    assert!(second.waited());
    drop(gone);
    assert!(!second.hand_on(), "nobody waits any more");
    assert!(!pool.claim(claim(None)).await.unwrap().waited());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_deadline_fires_by_itself() {
    let (pool, writer) = pool(1, 1);
    let _held = pool.claim(claim(None)).await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.claim(claim(None)).await.err() }
    });
    while writer.report().queued == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.claim(claim(None)).await.err(), Some(ClaimError::Full));
    assert_eq!(waiting.await.unwrap(), Some(ClaimError::Expired { any_worker: true }));
    assert_eq!(writer.report().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn only_the_promoted_generation_gets_requests() {
    let (pool, writer) = pool(1, 10);
    writer.publish(member(9, 2, 1), None);
    assert_eq!(pool.claim(claim(None)).await.unwrap().member().worker, WorkerId(1));
    writer.promote(GenerationId(2));
    assert_eq!(pool.claim(claim(None)).await.unwrap().member().worker, WorkerId(9));
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_in_front_and_never_to_the_same_worker() {
    let (pool, writer) = pool(2, 10);
    let (one, two) = (pool.claim(claim(None)).await.unwrap(), pool.claim(claim(None)).await.unwrap());
    let (failed, other) = (one.member().worker, two.member().worker);
    let ordinary = tokio::spawn({
        let pool = pool.clone();
        async move { pool.claim(claim(None)).await.unwrap() }
    });
    let retried = tokio::spawn({
        let pool = pool.clone();
        async move { pool.claim(claim(Some(failed))).await.unwrap() }
    });
    while writer.report().queued < 2 {
        tokio::task::yield_now().await;
    }
    drop(one);
    assert_eq!(ordinary.await.unwrap().member().worker, failed, "the failed worker serves others meanwhile");
    drop(two);
    assert_eq!(retried.await.unwrap().member().worker, other);
}

#[tokio::test(start_paused = true)]
async fn a_condemned_worker_gets_nothing_new() {
    let (pool, writer) = pool(1, 10);
    let lease = pool.claim(claim(None)).await.unwrap();
    lease.condemn(WorkerFault::TooSlow);
    drop(lease);
    assert!(!pool.any_worker());
    assert_eq!(writer.standings()[0].condemned, Some(WorkerFault::TooSlow));
    assert_eq!(pool.claim(claim(None)).await.err(), Some(ClaimError::Expired { any_worker: false }));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_frees_the_request_window_until_there_are_too_many() {
    let (pool, writer) = pool(1, 10);
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let lease = pool.claim(claim(None)).await.unwrap();
        tunnels.push(lease.into_tunnel(None).ok().expect("there is a place"));
    }
    let lease = pool.claim(claim(None)).await.unwrap();
    let lease = lease.into_tunnel(None).err().expect("both places are taken");
    assert_eq!((writer.standings()[0].tunnels, writer.standings()[0].in_flight), (2, 1));
    drop(lease);
    drop(tunnels);
    assert_eq!((writer.standings()[0].tunnels, writer.standings()[0].in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn closing_refuses_those_that_wait() {
    let (pool, writer) = pool(0, 10);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.claim(claim(None)).await.err() }
    });
    while writer.report().queued == 0 {
        tokio::task::yield_now().await;
    }
    writer.set_mode(Mode::Closed);
    assert_eq!(waiting.await.unwrap(), Some(ClaimError::Closed));
    assert_eq!(pool.claim(claim(None)).await.err(), Some(ClaimError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_many_requests_keeps_no_other_waiting_for_them() {
    let (pool, _writer) = pool(1, 100);
    let mut held = pool.claim(claim_of(1)).await.unwrap();
    let mut many: Vec<_> = (0..50).map(|_| pool.claim(claim_of(1))).collect();
    let one = pool.claim(claim_of(2));
    let mut unnamed: Vec<_> = (0..2).map(|_| pool.claim(claim_of(0))).collect();
    drop(held);
    held = many.remove(0).await.unwrap();
    drop(held);
    held = one.await.unwrap();
    drop(held);
    held = unnamed.remove(0).await.unwrap();
    drop(held);
    for next in many.drain(..2) {
        drop(next.await.unwrap());
        if let Some(next) = unnamed.pop() {
            drop(next.await.unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_many_requests_keeps_no_other_out_of_a_full_queue() {
    let (pool, writer) = pool(1, 3);
    let held = pool.claim(claim_of(1)).await.unwrap();
    let (first, second) = (pool.claim(claim_of(1)), pool.claim(claim_of(1)));
    let place = pool.hold(net(1)).ok();
    let mut place = place.expect("there is a place");
    assert_eq!(pool.claim(claim_of(1)).await.err(), Some(ClaimError::Full), "it has all places");
    let other = pool.claim(claim_of(2));
    tokio::time::timeout(Duration::ZERO, place.pushed_out()).await.expect("the newest one made room");
    drop(place);
    assert_eq!(writer.report().queued, 3);
    assert_eq!(pool.claim(claim_of(2)).await.err(), Some(ClaimError::Full), "it would have the most");
    let third = pool.claim(claim_of(3));
    assert_eq!(second.await.err(), Some(ClaimError::Full), "that was its newest");
    assert!(pool.hold(net(4)).is_err(), "nobody has more than one");
    drop(held);
    drop(first.await.unwrap());
    drop(other.await.unwrap());
    drop(third.await.unwrap());
    assert_eq!((writer.report().queued, in_flight(&writer)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_as_many_tunnels_as_it_leaves_free_at_a_worker() {
    let (pool, writer) = pool(0, 10);
    writer.publish(member_with(1, 8), None);
    let mut open = Vec::new();
    for (client, most) in [(1, 4), (2, 2), (3, 1), (4, 1), (5, 0), (0, 0)] {
        let mut got = 0;
        while let Ok(tunnel) = pool.claim(claim_of(client)).await.unwrap().into_tunnel(net(client)) {
            open.push(tunnel);
            got += 1;
        }
        assert_eq!(got, most, "client {client}");
    }
    assert_eq!((writer.standings()[0].tunnels, writer.standings()[0].in_flight), (8, 0));
    open.remove(0);
    assert!(pool.claim(claim_of(1)).await.unwrap().into_tunnel(net(1)).is_err(), "it has three of eight");
    open.push(pool.claim(claim_of(0)).await.unwrap().into_tunnel(None).ok().expect("it has no share"));
    writer.remove(WorkerId(1));
    drop(open);
}

/// Claims, returns, hang-ups, deploys, retirements and crashes in any order: every claimed seat is held or has come
/// back, and no worker has more in hand than it takes.
#[tokio::test(start_paused = true)]
async fn random_histories_lose_nothing() {
    for round in 0..300 {
        let seed = fastrand::u64(..);
        let outcome = history(fastrand::Rng::with_seed(seed)).await;
        assert!(outcome.is_ok(), "round {round}, seed {seed}: {outcome:?}");
    }
}

async fn history(mut random: fastrand::Rng) -> Result<(), String> {
    let (pool, writer) = Pool::new(8);
    let (mut generation, mut next_worker) = (1, 1);
    writer.promote(GenerationId(generation));
    let mut waiting: Vec<tokio::task::JoinHandle<Result<Lease, ClaimError>>> = Vec::new();
    let mut held: Vec<Lease> = Vec::new();
    let mut places: Vec<HeldPlace> = Vec::new();
    for _ in 0..120 {
        let workers = writer.standings();
        let known = random.choice(&workers).map(|standing| standing.worker);
        match random.u8(0..10) {
            0..4 => {
                let (pool, not) = (pool.clone(), known.filter(|_| random.u8(0..5) == 0));
                let wanted = if random.bool() { WantedGeneration::Canary } else { WantedGeneration::Current };
                let affinity = match random.u8(0..4) {
                    0 => Some(Affinity::Shown(known)),
                    1 => Some(Affinity::Address),
                    _ => None,
                };
                let terms = ClaimTerms { affinity, generation: wanted };
                let terms = (random.u8(0..3) > 0).then_some(terms);
                let claim = Claim { not, terms, ..claim_of(random.u8(0..4)) };
                waiting.push(tokio::spawn(async move { pool.claim(claim).await }));
            }
            4 | 5 if !held.is_empty() => drop(held.swap_remove(random.usize(..held.len()))),
            6 if !waiting.is_empty() => waiting.swap_remove(random.usize(..waiting.len())).abort(),
            7 => {
                writer.publish(member(next_worker, generation, random.u32(1..3)), None);
                next_worker += 1;
            }
            8 => match (known, random.u8(0..3)) {
                (Some(worker), 0) => {
                    writer.retire(worker, if random.bool() { ItsClients::Stay } else { ItsClients::Go });
                }
                (Some(worker), 1) => writer.remove(worker),
                (Some(worker), _) => held
                    .iter()
                    .filter(|lease| lease.member().worker == worker)
                    .for_each(|lease| lease.condemn(WorkerFault::Stalled)),
                (None, _) => {}
            },
            9 if random.u8(0..4) == 0 => places.extend(pool.hold(net(random.u8(0..4)))),
            9 if !places.is_empty() => drop(places.swap_remove(random.usize(..places.len()))),
            _ if random.u8(0..8) == 0 => {
                generation += 1;
                writer.promote(GenerationId(generation));
            }
            _ if random.u8(0..8) == 0 => {
                writer.set_canary(random.bool().then_some(GenerationId(generation + 1)));
            }
            _ if random.u8(0..4) == 0 => {
                writer.publish(member(next_worker, generation + 1, random.u32(1..3)), None);
                next_worker += 1;
            }
            _ => {}
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        for at in (0..waiting.len()).rev() {
            if waiting[at].is_finished()
                && let Ok(Ok(lease)) = waiting.swap_remove(at).await
            {
                held.push(lease);
            }
        }
        check(&writer, &held)?;
    }
    for task in waiting {
        task.abort();
        if let Ok(Ok(lease)) = task.await {
            held.push(lease);
        }
    }
    check(&writer, &held)?;
    places.clear();
    held.clear();
    if in_flight(&writer) == 0 && writer.report().queued == 0 {
        Ok(())
    } else {
        Err("something was not given back".into())
    }
}

fn check(writer: &PoolWriter, held: &[Lease]) -> Result<(), String> {
    let report = writer.report();
    for slot in &report.workers {
        let ours = held.iter().filter(|lease| lease.member().worker == slot.standing.worker).count();
        if ours != slot.standing.in_flight {
            return Err(format!(
                "{} has {} in hand, {ours} leases are held",
                slot.standing.worker, slot.standing.in_flight
            ));
        }
        let most = held.iter().find(|lease| lease.member().worker == slot.standing.worker);
        if most.is_some_and(|lease| ours > lease.member().concurrency.get() as usize) {
            return Err(format!("{} has too many in hand", slot.standing.worker));
        }
    }
    Ok(())
}
