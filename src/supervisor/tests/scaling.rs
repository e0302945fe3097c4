//! Apps whose number of workers follows their load.

use super::*;
use crate::spec::WorkerRange;

fn by_load(least: u32, most: u32, idle: Option<Duration>) -> AppSpec {
    let count = |count| WorkerCount::Exactly(NonZeroU32::new(count).unwrap());
    let workers = WorkerRange { least: count(least), most: count(most) };
    AppSpec { upkeep: Upkeep { workers, idle, reload: Reload::None, ..Upkeep::default() }, ..blog() }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_rests_is_started_by_its_first_request_and_rests_again() {
    let world = World::serving(by_load(1, 1, Some(Duration::from_secs(300)))).await;
    let resting = world.until("at rest", |app| app.resting && app.workers.wanted == 0).await;
    assert_eq!(resting.doing, "resting: the next request starts a worker");
    let (one, other) = tokio::join!(world.claim("blog.example"), world.claim("blog.example"));
    assert!(one.is_ok(), "{:?}", one.err());
    drop((one, other));
    assert_eq!(world.started(), [1, 2], "one is started for both");
    world.until("at rest again", |app| app.resting && app.workers.ready == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_follows_its_load_is_stopped_as_any_other() {
    let world = World::serving(by_load(1, 3, Some(Duration::from_secs(60)))).await;
    let lease = world.claim("blog.example").await.unwrap();
    let begun = Instant::now();
    let stopped =
        tokio::time::timeout(Duration::from_secs(3600), world.supervisor.stop(Duration::from_secs(120)));
    stopped.await.expect("its task does not wait for a look at its load");
    assert!((120..140).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn workers_that_outgrow_their_memory_go_down_to_the_least() {
    let mut spec = by_load(1, 4, None);
    spec.upkeep.memory_total = Some(300 << 20);
    let world = World::serving(spec).await;
    world.backend.set_memory(WorkerId(1), 100 << 20);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut held = vec![world.claim("blog.example").await.unwrap()];
    // Each claim waits until it has a worker of its own.
    held.push(world.claim("blog.example").await.unwrap());
    held.push(world.claim("blog.example").await.unwrap());
    let late = world.claim("blog.example").await;
    assert!(late.is_err(), "a fourth does not fit");
    let cramped = world.app().await;
    assert_eq!(cramped.workers.wanted, 3);
    drop(held);
    world.backend.set_memory(WorkerId(1), 250 << 20);
    let fewer = world.until("fewer", |app| app.workers.wanted == 1).await;
    assert!(fewer.scaling.unwrap().ends_with("one has taken 250 MiB, and 1 such fit memory_total"));
}
