//! The first seconds of a new generation: passed, taken back, and what else may happen meanwhile.

use super::*;
use crate::api::Rejection;

const PROBATION: Duration = Duration::from_secs(5);

/// An app whose old workers are kept after a deploy.
fn careful(count: u32) -> AppSpec {
    let mut spec = workers(blog(), count);
    Arc::make_mut(&mut spec.rules).timeouts.probation = PROBATION;
    spec
}

/// A worker that is ready at once, and dies after `time`.
fn crashes_after(time: Duration) -> Behaviour {
    Behaviour { exit_after: Some((time, WorkerExit::Status(3))), ..Behaviour::default() }
}

/// Begins a deploy and returns when it serves, with the rest of its events.
async fn serving(world: &World) -> mpsc::Receiver<DeployEvent> {
    let mut events = world.supervisor.deploy(None).await.unwrap();
    loop {
        match events.recv().await.unwrap() {
            DeployEvent::Serving { probation: 5_000, .. } => return events,
            DeployEvent::Starting { .. } | DeployEvent::Ready { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn rejection(events: &[DeployEvent]) -> &Rejection {
    match events.last() {
        Some(DeployEvent::Rejected { rejection, .. }) => rejection,
        other => panic!("{other:?} is the end of {events:?}"),
    }
}

fn is_done(events: &[DeployEvent], generation: u64) -> bool {
    matches!(events.last(), Some(DeployEvent::Done { generation: done, .. }) if done.0 == generation)
}

#[tokio::test(start_paused = true)]
async fn a_first_start_and_an_app_without_probation_wait_for_nothing() {
    let begun = Instant::now();
    let world = World::serving(careful(2)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(world.app().await.doing, "serving");

    let hasty = World::serving(blog()).await;
    let begun = Instant::now();
    assert!(is_done(&all(hasty.supervisor.deploy(None).await.unwrap()).await, 2));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_passes_lets_the_one_before_go_and_only_then_is_the_deploy_done() {
    let world = World::serving(careful(2)).await;
    let begun = Instant::now();
    let events = serving(&world).await;

    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, GenerationId(2));
    let app = world.app().await;
    assert_eq!((app.generation.0, app.workers.ready, app.workers.draining), (2, 2, 2));
    let sentence = "serving; generation 2 is on probation for ";
    assert!(app.doing.starts_with(sentence) && app.doing.ends_with(" more, else generation 1 serves again"));
    let kept = world.supervisor.workers().await.remove(0);
    assert_eq!(kept.why.as_deref(), Some("kept until generation 2 has passed its probation"));
    assert!(world.terminated().is_empty());

    assert!(is_done(&all(events).await, 2));
    assert_eq!(begun.elapsed().as_secs(), 5);
    world.at_rest(2).await;
    assert_eq!(world.terminated(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_crashes_is_taken_back_to_workers_that_never_stopped() {
    let world = World::serving(careful(2)).await;
    world.backend.script(|_| crashes_after(Duration::from_secs(1)));
    let mut changed = careful(2);
    changed.described = "another script".into();
    changed.hosts = vec![host("new.example")];
    world.apps.put(changed);
    let events = serving(&world).await;
    assert_eq!(world.app().await.described, "another script");
    assert!(world.directory.lookup("blog.example").is_none());
    world.events.send(WorkerEvent::Output(WorkerId(3), "Segmentation fault".into())).await.unwrap();

    let events = all(events).await;

    let rejected = rejection(&events);
    let reason = "a worker exited with status 3, 1.0 s after it began to serve: generation 1 serves again";
    assert_eq!(
        (rejected.reason.as_str(), rejected.output.as_slice()),
        (reason, &["Segmentation fault".into()][..])
    );
    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, GenerationId(1));
    let app = world.at_rest(1).await;
    assert_eq!((app.doing.as_str(), app.rejected.as_ref()), ("serving", Some(rejected)));
    assert_eq!((app.described.as_str(), app.hosts), ("blog, a script", vec![host("blog.example")]));
    assert!(world.backend.alive().contains(&WorkerId(1)) && world.backend.alive().contains(&WorkerId(2)));
    assert!(!world.terminated().iter().any(|worker| *worker <= 2), "{:?}", world.terminated());
    let serving_generations = ServingGenerations::open(Some(world.state.path().join(GENERATIONS_FILE)));
    assert_eq!(serving_generations.current(&blog().name), Some(GenerationId(1)));
}

#[tokio::test(start_paused = true)]
async fn one_crash_of_many_workers_is_replaced_and_half_of_them_are_too_many() {
    let world = World::serving(careful(4)).await;
    let events = serving(&world).await;
    world.backend.crash(WorkerId(5), WorkerExit::Signal(11));
    world.until("replaced", |app| world.started().len() == 9 && app.workers.ready == 4).await;
    assert_eq!(world.app().await.generation, GenerationId(2));
    world.backend.crash(WorkerId(6), WorkerExit::Signal(11));

    assert!(rejection(&all(events).await).reason.starts_with("a worker was killed by signal 11, "));
    world.at_rest(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_probation_is_replaced_as_any_other() {
    let world = World::serving(careful(1)).await;
    assert!(is_done(&all(serving(&world).await).await, 2));
    world.backend.crash(WorkerId(2), WorkerExit::Status(1));
    world
        .until("replaced", |app| {
            app.generation.0 == 2 && app.workers.ready == 1 && world.started().len() == 3
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_later_deploy_goes_back_to_what_had_passed_and_the_first_one_hears_how_it_ends() {
    let world = World::serving(careful(1)).await;
    let first = serving(&world).await;
    world.backend.script(|_| crashes_after(Duration::from_secs(2)));
    let second = serving(&world).await;
    assert_eq!(world.app().await.generation.0, 3);
    assert_eq!(world.backend.alive(), [WorkerId(1), WorkerId(3)], "the second never proved itself");

    let (first, second) = tokio::join!(all(first), all(second));

    assert_eq!(rejection(&first), rejection(&second));
    assert!(first.contains(&DeployEvent::Superseded { app: blog().name, generation: GenerationId(2) }));
    assert!(rejection(&second).reason.ends_with("generation 1 serves again"));
    world.at_rest(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_deploy_on_its_way_goes_on_when_the_one_before_it_is_taken_back() {
    let world = World::serving(careful(1)).await;
    world.backend.script(|order| match order.generation.0 {
        2 => crashes_after(Duration::from_secs(1)),
        _ => ready_after(3),
    });
    let first = serving(&world).await;
    let second = world.supervisor.deploy(None).await.unwrap();

    let (first, second) = tokio::join!(all(first), all(second));

    assert_eq!(rejection(&first).generation, GenerationId(2));
    assert!(is_done(&second, 3), "{second:?}");
    world.at_rest(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_scale_during_a_probation_is_for_what_serves() {
    let world = World::serving(careful(2)).await;
    let events = serving(&world).await;
    world.supervisor.scale(Scale { app: None, workers: "3".into() }).await.unwrap();
    world.until("three", |app| app.workers.ready == 3).await;
    assert!(world.terminated().is_empty());
    for worker in [3, 4] {
        world.backend.crash(WorkerId(worker), WorkerExit::Status(1));
    }
    assert_eq!(rejection(&all(events).await).generation, GenerationId(2));
    assert_eq!(world.at_rest(1).await.workers.ready, 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_due_is_recycled_during_a_probation_and_none_that_is_kept() {
    let mut spec = careful(1);
    spec.recycle.age = Some(Duration::from_secs(3));
    let world = World::serving(spec).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let events = serving(&world).await;
    assert!(is_done(&all(events).await, 2));
    let first = world.started().iter().position(|worker| *worker == 1);
    assert_eq!(first, Some(0));
    let generations: Vec<_> = world.backend.started().iter().map(|order| order.generation.0).collect();
    assert_eq!(generations.iter().filter(|generation| **generation == 1).count(), 1, "{generations:?}");
    assert!(generations.len() >= 3, "{generations:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_probation_ends_everything_and_the_deploy() {
    let world = World::serving(careful(1)).await;
    let events = serving(&world).await;
    let begun = Instant::now();

    world.supervisor.stop(Duration::from_secs(30)).await;

    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(world.backend.alive(), []);
    assert_eq!(rejection(&all(events).await).reason, "the app is being stopped");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_during_a_probation_goes_on_with_the_new_generation() {
    let survivor = |worker, generation| SurvivingWorker {
        worker: WorkerId(worker),
        app: blog().name,
        generation: GenerationId(generation),
        started: backend::Started {
            pid: 4_000 + worker as u32,
            address: Some(crate::pool::Address::Unix(format!("/nonexistent/{worker}.sock").into())),
        },
        fingerprint: crate::digest::of(&*careful(1).launch),
        since: std::time::SystemTime::now(),
        job: None,
    };
    let world = World::after(careful(1), Some(2), [survivor(1, 1), survivor(2, 2)], |_| Behaviour::default());

    assert_eq!(world.supervisor.settled().await, []);

    world.at_rest(2).await;
    assert_eq!((world.terminated(), world.started()), (vec![1], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_answers_for_its_leader_is_not_promoted() {
    let world = World::serving(careful(1)).await;
    world.backend.script(|_| ready_after(1));
    let mut events = world.supervisor.deploy(None).await.unwrap();
    world.until("started", |app| app.workers.starting == 1).await;
    world.backend.lose_leader(WorkerId(2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.app().await.generation, GenerationId(1));
    for worker in 2..=4 {
        world.events.send(WorkerEvent::Ending(WorkerId(worker), WorkerExit::Background)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
    }

    let mut seen = Vec::new();
    while let Some(event) = events.recv().await {
        seen.push(event);
    }

    let reason = "a worker went into the background: run it in the foreground, the last of 3 failures";
    assert_eq!(rejection(&seen).reason, reason);
    assert!(!seen.iter().any(|event| matches!(event, DeployEvent::Serving { .. })), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_loses_its_leader_gets_no_request_any_more() {
    let world = World::serving(careful(2)).await;
    world.events.send(WorkerEvent::Ending(WorkerId(1), WorkerExit::Status(0))).await.unwrap();
    world.until("stopping", |app| app.workers.stopping == 1).await;
    for _ in 0..4 {
        assert_ne!(world.claim("blog.example").await.unwrap().member().worker, WorkerId(1));
    }
    world.events.send(WorkerEvent::Exited(WorkerId(1), WorkerExit::Status(0))).await.unwrap();
    world.at_rest(1).await;
    let page = world.metrics.render();
    assert!(page.contains(r#"rip_worker_exits_total{app="blog",cause="exit"} 1"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn ready_said_by_a_program_that_nobody_knows_is_not_enough() {
    let mut spec = workers(blog(), 1);
    spec.ready_by = ReadyBy::Answer;
    Arc::make_mut(&mut spec.rules).timeouts.start = Duration::from_secs(7);
    let world = World::start([spec], |_| Behaviour::default());

    let unserved = world.supervisor.settled().await;

    let reason = "a worker was not ready within 7s: it said READY=1, but GET / failed: it made no socket; \
                  `ready_path` names another path, and with `ready_by = \"notify\"` it is not asked";
    assert_eq!(unserved[0].reason, reason);
}
