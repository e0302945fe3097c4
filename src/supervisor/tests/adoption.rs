//! Workers that an earlier server left: taken over, replaced, or told to end.

use std::time::SystemTime;

use super::*;
use crate::backend::Started;
use crate::pool::Address;

#[tokio::test(start_paused = true)]
async fn workers_that_fit_are_asked_and_gone_on_with() {
    let world =
        World::after(blog(), None, [left(3, 7, &blog()), left(4, 7, &blog())], |_| Behaviour::default());

    let app = world.at_rest(7).await;

    assert_eq!(app.workers.ready, 2);
    assert!(world.started().is_empty());
    assert!(world.terminated().is_empty());
    let lease = world.claim("blog.example").await.unwrap();
    assert_eq!(lease.member().generation, GenerationId(7));
    let page = world.metrics.render();
    assert!(page.contains("rip_worker_adoptions_total{app=\"blog\"} 2"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_started_and_what_is_too_many_ends() {
    let world = World::after(blog(), None, [left(3, 7, &blog())], |_| Behaviour::default());
    world.at_rest(7).await;
    assert_eq!(world.started(), [4], "numbers go on where the earlier server was");

    let three = [left(1, 1, &blog()), left(2, 1, &blog()), left(3, 1, &blog())];
    let world = World::after(blog(), None, three, |_| Behaviour::default());
    world.at_rest(1).await;
    assert_eq!(world.backend.alive().len(), 2);
    assert_eq!(world.terminated().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn workers_of_other_settings_serve_until_the_new_ones_do() {
    let old = SurvivingWorker { fingerprint: "other".into(), ..left(1, 1, &blog()) };
    let world = World::after(blog(), Some(1), [old], |order| match order.worker.0 {
        1 => Behaviour::default(),
        _ => ready_after(30),
    });
    world.until("on the way", |app| app.workers.starting == 2).await;
    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, GenerationId(1));
    assert!(world.terminated().is_empty());

    world.at_rest(2).await;

    assert_eq!(world.terminated(), [1]);
}

#[tokio::test(start_paused = true)]
async fn workers_older_than_their_entry_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let entry = folder.path().join("entry");
    std::fs::write(&entry, "").unwrap();
    let spec = AppSpec { entry: Some(entry), ..blog() };
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let world = World::after(
        spec.clone(),
        Some(1),
        [SurvivingWorker { since: hour_ago, ..left(1, 1, &spec) }],
        |_| Behaviour::default(),
    );

    world.at_rest(2).await;

    assert_eq!(world.terminated(), [1]);
}

#[tokio::test(start_paused = true)]
async fn half_a_deploy_is_not_mistaken_for_the_app() {
    let served = [left(1, 1, &blog()), left(2, 1, &blog())];
    let half = [left(3, 2, &blog())];
    let world = World::after(blog(), Some(1), served.into_iter().chain(half), |_| Behaviour::default());

    world.at_rest(1).await;

    assert_eq!(world.terminated(), [3]);
    let done = all(world.supervisor.deploy(None).await.unwrap()).await;
    assert!(matches!(done.last(), Some(DeployEvent::Done { generation: GenerationId(3), .. })), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_the_newest_that_fits_goes_on() {
    let both = [left(1, 1, &blog()), left(2, 2, &blog()), left(3, 2, &blog())];
    let world = World::after(blog(), None, both, |_| Behaviour::default());
    world.at_rest(2).await;
    assert_eq!(world.terminated(), [1]);

    let strange = SurvivingWorker { fingerprint: "other".into(), ..left(1, 4, &blog()) };
    let world = World::after(blog(), None, [strange], |_| Behaviour::default());
    world.at_rest(5).await;
    assert_eq!(world.terminated(), [1]);
}

#[tokio::test(start_paused = true)]
async fn workers_of_no_app_end() {
    let world = World::after(blog(), None, [left(9, 3, &app("shop"))], |_| Behaviour::default());
    world.at_rest(1).await;
    assert_eq!(world.terminated(), [9]);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_any_more_is_replaced() {
    let world = World::after(blog(), None, [left(1, 1, &blog()), left(2, 1, &blog())], |order| {
        match order.worker.0 {
            2 => Behaviour { ready_after: None, ..Behaviour::default() },
            _ => Behaviour::default(),
        }
    });
    world.until("one serves", |app| app.workers.ready == 1).await;
    world.at_rest(1).await;
    assert_eq!(world.started(), [3]);
    assert_eq!(world.terminated(), [2]);
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_before_it_is_asked_is_replaced() {
    let world = World::after(blog(), None, [left(1, 1, &blog()), left(2, 1, &blog())], |order| {
        match order.worker.0 {
            2 => Behaviour {
                ready_after: None,
                exit_after: Some((Duration::ZERO, WorkerExit::Signal(9))),
                ..Behaviour::default()
            },
            _ => Behaviour::default(),
        }
    });
    world.at_rest(1).await;
    assert_eq!(world.started(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_ends_none() {
    let world = World::serving(blog()).await;
    world.supervisor.leave().await;
    assert!(world.terminated().is_empty());
    assert_eq!(world.backend.alive().len(), 2);
}

/// The fingerprint of a launch, as every backend makes it.
fn fingerprint(spec: &AppSpec) -> String {
    FakeBackend::new(mpsc::channel(1).0).fingerprint(&spec.launch)
}

/// A worker that was started long after every file was written, the way it would be now.
fn left(worker: u64, generation: u64, spec: &AppSpec) -> SurvivingWorker {
    SurvivingWorker {
        worker: WorkerId(worker),
        app: spec.name.clone(),
        generation: GenerationId(generation),
        started: Started { pid: 1, address: Some(Address::Unix(PathBuf::from("/nonexistent/left.sock"))) },
        fingerprint: fingerprint(spec),
        since: SystemTime::now() + Duration::from_secs(3600),
        job: None,
    }
}
