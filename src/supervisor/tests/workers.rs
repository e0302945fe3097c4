//! Workers that start, crash, are recycled, killed, resized and stopped.

use super::*;

#[tokio::test(start_paused = true)]
async fn workers_start_in_parallel_and_serve_once_all_are_ready() {
    let begun = Instant::now();
    let world = World::start([workers(blog(), 3)], |order| ready_after(order.worker.0));

    world.until("started", |app| app.workers.starting == 3).await;
    assert_eq!(world.app().await.doing, "starting generation 1: 0 of 3 workers ready");
    assert_eq!(world.supervisor.settled().await, []);

    assert!(begun.elapsed() < Duration::from_millis(3100), "{:?}", begun.elapsed());
    let app = world.at_rest(1).await;
    assert_eq!((app.doing.as_str(), app.workers.ready), ("serving", 3));
    assert_eq!(app.hosts, [host("blog.example")]);
    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, GenerationId(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_first_generation() {
    let world = World::start([blog()], |_| ready_after(5));
    world.until("started", |app| app.workers.starting == 2).await;

    let (lease, ()) = tokio::join!(world.claim("blog.example"), async {
        world.until("waited for", |app| app.queued == 1).await;
    });

    assert!(lease.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_say_it_is_ready_before_its_start_has_returned() {
    let world = World::start([], |_| Behaviour::default());
    let events = world.events.clone();
    world.backend.script(move |order| {
        events.try_send(WorkerEvent::Ready(order.worker)).unwrap();
        Behaviour { ready_after: None, ..Behaviour::default() }
    });
    world.apps.put(blog());

    let wanted = AddHost { host: host("a.example"), path: Some(blog().path), acme: true };
    world.supervisor.add_host(wanted).await.unwrap();

    world.at_rest(1).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_workers_that_are_gone_or_unknown_change_nothing() {
    let world = World::serving(blog()).await;
    world.backend.crash(WorkerId(1), WorkerExit::Status(1));
    world.until("replaced", |app| app.workers.ready == 2 && world.started().len() == 3).await;
    let before = world.app().await;

    for worker in [1, 99].map(WorkerId) {
        world.events.send(WorkerEvent::Ready(worker)).await.unwrap();
        world.events.send(WorkerEvent::Output(worker, "late".into())).await.unwrap();
        world.events.send(WorkerEvent::Exited(worker, WorkerExit::Status(1))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;

    assert_eq!(world.app().await, before);
    assert_eq!(world.started(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_of_what_serves_is_retried_with_pauses_for_ever() {
    let world = World::serving(workers(blog(), 1)).await;
    let mut pauses = Vec::new();
    for worker in 1..=9 {
        world.backend.crash(WorkerId(worker), WorkerExit::Signal(11));
        let fallen = Instant::now();
        world.until("replaced", |app| app.workers.ready == 1 && world.started().len() as u64 > worker).await;
        pauses.push(fallen.elapsed());
    }
    let nominal = [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].map(Duration::from_millis);
    for (pause, nominal) in pauses.iter().zip(nominal) {
        let slack = Duration::from_millis(50);
        assert!(*pause >= nominal.mul_f64(0.89) && *pause <= nominal.mul_f64(1.11) + slack, "{pauses:?}");
    }
    world.backend.crash(WorkerId(10), WorkerExit::Signal(11));
    let app = world.until("paused", |app| app.workers.ready == 0).await;
    let said = "before starting a worker: it failed 10 times, the last one was killed by signal 11";
    assert!(app.doing.ends_with(said), "{}", app.doing);
}

#[tokio::test(start_paused = true)]
async fn the_crashes_of_one_app_do_not_slow_another() {
    let world = World::start([workers(app("bad"), 1), workers(app("good"), 1)], |_| Behaviour::default());
    assert_eq!(world.supervisor.settled().await, []);
    for _ in 0..6 {
        let (bad, before) = (world.supervisor.workers().await.remove(0).worker, world.started().len());
        world.backend.crash(bad, WorkerExit::Status(1));
        world.until("replaced", |app| world.started().len() > before && app.workers.ready == 1).await;
    }

    let good = world.supervisor.workers().await.pop().unwrap();
    assert_eq!(good.app.as_str(), "good");
    world.backend.crash(good.worker, WorkerExit::Status(1));
    let fallen = Instant::now();
    let started = world.started().len();
    while world.started().len() == started {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(fallen.elapsed() < Duration::from_millis(300), "{:?}", fallen.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_recycled_after_its_requests_with_its_replacement_ready_first() {
    let recycle = Recycle { requests: Some(20), age: None, reloads: None };
    let world = World::serving(AppSpec { recycle, ..workers(blog(), 1) }).await;
    world.backend.script(|_| ready_after(3));
    let mut served = 0;
    while world.started().len() == 1 {
        drop(world.claim("blog.example").await.unwrap());
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(world.app().await.workers.ready >= 1);
    }
    assert!((18..=23).contains(&served), "served {served}");
    assert!(world.terminated().is_empty());

    world.at_rest(1).await;
    assert_eq!((world.started(), world.terminated()), (vec![1, 2], vec![1]));
    let page = world.metrics.render();
    assert!(page.contains(r#"rip_workers_ready{app="blog"} 1"#), "{page}");
    assert!(page.contains(r#"rip_worker_exits_total{app="blog",cause="asked"} 1"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn workers_that_are_due_together_are_recycled_one_by_one() {
    let recycle = Recycle { requests: None, age: Some(Duration::from_secs(100)), reloads: None };
    let world = World::serving(AppSpec { recycle, ..workers(blog(), 4) }).await;
    world.backend.script(|_| ready_after(1));
    let first = [1, 2, 3, 4];
    let mut most = 0;
    while !first.iter().all(|worker| world.terminated().contains(worker)) {
        let workers = world.app().await.workers;
        assert!(workers.ready >= 4, "{workers:?}");
        most = most.max(workers.starting + workers.draining + workers.stopping);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(most, 1);
    assert_eq!(world.app().await.doing, "serving");
}

#[tokio::test(start_paused = true)]
async fn a_worker_above_its_soft_memory_limit_is_recycled() {
    let mut spec = workers(blog(), 1);
    Arc::make_mut(&mut spec.launch).memory.soft = Some(100 << 20);
    let world = World::serving(spec).await;

    world.backend.set_memory(WorkerId(1), 80 << 20);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.started(), [1]);
    world.backend.set_memory(WorkerId(1), 120 << 20);

    world.until("replaced", |app| world.terminated() == [1] && app.workers.ready == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_above_its_hard_memory_limit_is_killed_for_it() {
    let mut spec = workers(blog(), 1);
    Arc::make_mut(&mut spec.launch).memory.hard = Some(100 << 20);
    let world = World::serving(spec).await;

    world.backend.set_memory(WorkerId(1), 120 << 20);

    world.until("replaced", |app| world.started() == [1, 2] && app.workers.ready == 1).await;
    assert_eq!(world.backend.signals(), [(WorkerId(1), Signal::OutOfMemory)]);
    let page = world.metrics.render();
    assert!(page.contains(r#"rip_worker_exits_total{app="blog",cause="oom"} 1"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_condemned_worker_is_terminated_killed_and_replaced() {
    let world = World::start([blog()], |_| Behaviour { on_terminate: None, ..Behaviour::default() });
    assert_eq!(world.supervisor.settled().await, []);
    let lease = world.claim("blog.example").await.unwrap();
    let stuck = lease.member().worker;

    lease.condemn(WorkerFault::TooSlow);
    let condemned = Instant::now();
    let app = world.until("replaced", |app| world.started().len() == 3 && app.workers.ready == 2).await;
    assert_eq!((app.workers.stopping, world.terminated()), (1, vec![stuck.0]));
    assert!(condemned.elapsed() < Duration::from_millis(100), "a worker that is killed is no crash");
    let shown = world.supervisor.workers().await.into_iter().find(|shown| shown.worker == stuck).unwrap();
    assert_eq!(shown.why.as_deref(), Some("did not answer within the request time limit"));
    assert_eq!(shown.requests[0].path, "/slow");

    world.until("gone", |app| app.workers.stopping == 0).await;
    assert_eq!(world.signalled(Signal::Kill), [stuck.0]);
    let page = world.metrics.render();
    assert!(page.contains(r#"rip_worker_exits_total{app="blog",cause="condemned"} 1"#), "{page}");
    assert!((4_900..5_200).contains(&condemned.elapsed().as_millis()), "{:?}", condemned.elapsed());
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_takes_no_notice_of_its_end_counts_as_timed_out() {
    let world = World::start([blog()], |_| Behaviour { on_terminate: None, ..Behaviour::default() });
    assert_eq!(world.supervisor.settled().await, []);

    world.supervisor.scale(Scale { app: None, workers: "1".into() }).await.unwrap();

    world.until("gone", |app| app.workers.ready == 1 && app.workers.stopping == 0).await;
    let page = world.metrics.render();
    assert!(page.contains(r#"rip_worker_exits_total{app="blog",cause="timeout"} 1"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_reached_counts_as_crashed() {
    let world = World::serving(workers(blog(), 1)).await;
    let lease = world.claim("blog.example").await.unwrap();

    lease.condemn(WorkerFault::Unreachable);

    let app = world.until("gone", |app| app.workers.ready + app.workers.stopping == 0).await;
    let said = "before starting a worker: it failed 1 time, the last one could not be connected to";
    assert!(app.doing.ends_with(said), "{}", app.doing);
    world.at_rest(1).await;
}

#[tokio::test(start_paused = true)]
async fn resizing_starts_and_retires() {
    let world = World::serving(blog()).await;
    let scale = |workers: &str| Scale { app: None, workers: workers.into() };

    let scaled = world.supervisor.scale(scale("2x")).await.unwrap();
    assert_eq!((scaled.before, scaled.now), (2, 8));
    assert_eq!(world.at_rest(1).await.workers.ready, 8);

    let kept = world.claim("blog.example").await.unwrap();
    world.supervisor.scale(scale("1")).await.unwrap();
    world.until("smaller", |app| app.workers.ready == 1).await;
    drop(kept);
    assert_eq!(world.at_rest(1).await.workers.ready, 1);

    let error = world.supervisor.scale(scale("many")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("bad-request", "`many` is not a number of workers")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_requests_finish_and_leaves_no_worker() {
    let world = World::serving(blog()).await;
    let lease = world.claim("blog.example").await.unwrap();
    let (busy, begun) = (lease.member().worker, Instant::now());

    let (supervisor, app) =
        (world.supervisor.clone(), Arc::clone(&world.directory.lookup("blog.example").unwrap().all()[0].app));
    let answer = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(world.backend.alive(), [busy], "the idle one has gone");
        drop(lease);
    };
    tokio::join!(supervisor.stop(Duration::from_secs(30)), answer);

    assert_eq!(world.backend.alive(), []);
    assert!(begun.elapsed() < Duration::from_millis(7_200), "{:?}", begun.elapsed());
    assert!(!app.pool.any_worker());
    assert!(matches!(
        world.supervisor.scale(Scale { app: None, workers: "1".into() }).await,
        Err(SupervisorError::Stopping)
    ));
    drop(world.events);
    world.stop.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_busy_the_deaf_and_the_starting() {
    let world = World::start([workers(blog(), 3)], |order| Behaviour {
        ready_after: (order.worker.0 < 3).then_some(Duration::ZERO),
        on_terminate: None,
        ..Behaviour::default()
    });
    world.until("half-way", |app| app.workers.ready == 2).await;
    let begun = Instant::now();

    world.supervisor.stop(Duration::from_secs(30)).await;

    assert_eq!(world.backend.alive(), []);
    assert_eq!(world.terminated().len(), 3);
    assert_eq!(world.signalled(Signal::Kill).len(), 3);
    assert!(begun.elapsed() < Duration::from_millis(5_300), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_its_time() {
    let world = World::serving(workers(blog(), 1)).await;
    let lease = world.claim("blog.example").await.unwrap();
    let begun = Instant::now();

    world.supervisor.stop(Duration::from_secs(12)).await;

    assert_eq!(begun.elapsed().as_secs(), 12);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn what_workers_write_can_be_read_and_followed() {
    let world = World::serving(blog()).await;
    for line in ["one", "two", "three"] {
        world.events.send(WorkerEvent::Output(WorkerId(2), line.into())).await.unwrap();
    }
    let mut followed = world.supervisor.logs(None, 0, true).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 3 {
        read = lines(world.supervisor.logs(Some(blog().name), 3, false).await.unwrap()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read, ["one", "two", "three"]);

    world.events.send(WorkerEvent::Output(WorkerId(1), "four".into())).await.unwrap();
    let mut last = followed.recv().await.unwrap();
    while last.line != "four" {
        last = followed.recv().await.unwrap();
    }
    assert_eq!((last.worker, last.generation), (WorkerId(1), GenerationId(1)));

    world.supervisor.stop(Duration::ZERO).await;
    assert_eq!(followed.recv().await, None);
}

async fn lines(mut receiver: mpsc::Receiver<LogLine>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = receiver.recv().await {
        lines.push(line.line);
    }
    lines
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_due_keeps_its_tunnels_until_they_end_by_themselves() {
    let recycle = Recycle { requests: None, age: Some(Duration::from_secs(100)), reloads: None };
    let world = World::serving(AppSpec { recycle, ..workers(blog(), 1) }).await;
    let tunnel = world.claim("blog.example").await.unwrap().into_tunnel(None).ok().unwrap();

    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(world.started(), [1]);
    let why = world.supervisor.workers().await.remove(0).why.unwrap();
    assert!(
        why.starts_with("is to be recycled after ") && why.ends_with(" s, once its tunnels have ended"),
        "{why}"
    );
    drop(tunnel);

    world.until("replaced", |app| world.terminated() == [1] && app.workers.ready == 1).await;
}

#[tokio::test(start_paused = true)]
async fn tunnels_of_a_worker_that_is_due_are_waited_for_a_day_and_not_at_all_when_its_memory_is_short() {
    let recycle = Recycle { requests: None, age: Some(Duration::from_secs(100)), reloads: None };
    let mut spec = AppSpec { recycle, ..workers(blog(), 1) };
    Arc::make_mut(&mut spec.launch).memory.soft = Some(100 << 20);
    let world = World::serving(spec.clone()).await;
    let _tunnel = world.claim("blog.example").await.unwrap().into_tunnel(None).ok().unwrap();
    let begun = Instant::now();
    while world.terminated() != [1] {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let hours = begun.elapsed().as_secs_f64() / 3_600.0;
    assert!((24.0..24.2).contains(&hours), "{hours} h");

    let world = World::serving(spec).await;
    let _tunnel = world.claim("blog.example").await.unwrap().into_tunnel(None).ok().unwrap();
    world.backend.set_memory(WorkerId(1), 120 << 20);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.terminated(), [1], "its drain is over");
}
