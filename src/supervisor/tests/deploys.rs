//! Generations that are tried out, promoted, rejected and superseded.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_deploy_takes_over_in_one_step_when_all_its_workers_are_ready() {
    let world = World::serving(blog()).await;
    world.backend.script(|order| ready_after(order.worker.0));
    let busy = world.claim("blog.example").await.unwrap();

    let mut events = world.supervisor.deploy(None).await.unwrap();
    let (app, generation) = (blog().name, GenerationId(2));
    assert_eq!(
        events.recv().await,
        Some(DeployEvent::Starting { app: app.clone(), generation, workers: 2, note: None })
    );
    let ready = |ready| DeployEvent::Ready { app: app.clone(), generation, ready, workers: 2 };
    assert_eq!(events.recv().await, Some(ready(1)));
    let meanwhile = world.claim("blog.example").await.unwrap();
    assert_eq!(meanwhile.member().generation, GenerationId(1), "half of the new is not the new");
    drop(meanwhile);
    assert_eq!(events.recv().await, Some(ready(2)));
    let Some(DeployEvent::Done { generation: GenerationId(2), ms, .. }) = events.recv().await else {
        panic!("not done");
    };
    assert_eq!(events.recv().await, None);

    assert!((4_000..4_200).contains(&ms), "{ms} ms");
    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, generation);
    let idle = [1, 2].into_iter().filter(|worker| *worker != busy.member().worker.0).collect::<Vec<_>>();
    world.until("one gone", |app| app.workers.draining == 1 && app.workers.stopping == 0).await;
    assert_eq!(world.terminated(), idle, "the busy one finishes first");
    drop(busy);
    world.at_rest(2).await;
}

#[tokio::test(start_paused = true)]
async fn tunnels_are_drained_until_the_limit_and_then_cut() {
    let world = World::serving(workers(blog(), 1)).await;
    let tunnel = world.claim("blog.example").await.unwrap().into_tunnel(None).ok().unwrap();

    all(world.supervisor.deploy(None).await.unwrap()).await;
    let begun = Instant::now();
    world.at_rest(2).await;

    assert!((29_900..30_200).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(world.terminated(), [tunnel.member().worker.0]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_deploy_is_rejected_with_its_output_and_the_old_one_goes_on() {
    let world = World::serving(blog()).await;
    world.backend.script(|_| Behaviour { ready_after: None, ..Behaviour::default() });

    let mut events = world.supervisor.deploy(Some(&blog().name)).await.unwrap();
    assert!(matches!(events.recv().await, Some(DeployEvent::Starting { .. })));
    world.until("started", |app| app.workers.starting == 2).await;
    world.events.send(WorkerEvent::Output(WorkerId(3), "SyntaxError: line 3".into())).await.unwrap();
    for worker in 3.. {
        let Ok(last) = tokio::time::timeout(Duration::from_secs(2), events.recv()).await else {
            world.events.send(WorkerEvent::Exited(WorkerId(worker), WorkerExit::Status(1))).await.unwrap();
            continue;
        };
        let Some(DeployEvent::Rejected { rejection, .. }) = last else { panic!("{last:?}") };
        assert_eq!(rejection.reason, "a worker exited with status 1, the last of 3 failures");
        assert_eq!(
            (rejection.generation, rejection.output),
            (GenerationId(2), vec!["SyntaxError: line 3".into()])
        );
        break;
    }

    let app = world.until("quiet", |app| app.workers.starting + app.workers.stopping == 0).await;
    assert_eq!((app.generation, app.workers.ready, app.doing.as_str()), (GenerationId(1), 2, "serving"));
    assert_eq!(app.rejected.unwrap().generation, GenerationId(2));
    assert_eq!(world.claim("blog.example").await.unwrap().member().generation, GenerationId(1));

    world.backend.script(|_| Behaviour::default());
    let events = all(world.supervisor.deploy(None).await.unwrap()).await;
    assert!(
        matches!(events.last(), Some(DeployEvent::Done { generation: GenerationId(3), .. })),
        "{events:?}"
    );
    assert_eq!(world.at_rest(3).await.rejected, None);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_is_not_ready_in_time_is_rejected_with_what_the_probe_met() {
    let world = World::serving(blog()).await;
    world.backend.script(|_| Behaviour { ready_after: None, ..Behaviour::default() });
    let begun = Instant::now();

    let events = all(world.supervisor.deploy(None).await.unwrap()).await;

    let Some(DeployEvent::Rejected { rejection, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(rejection.reason, "a worker was not ready within 60s: it made no socket");
    assert_eq!(begun.elapsed().as_secs(), 60);
    world.at_rest(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_be_started_rejects_its_generation() {
    let world = World::serving(workers(blog(), 1)).await;
    world.backend.script(|_| Behaviour { start_error: true, ..Behaviour::default() });

    let events = all(world.supervisor.deploy(None).await.unwrap()).await;

    let Some(DeployEvent::Rejected { rejection, .. }) = events.last() else { panic!("{events:?}") };
    let reason = "a worker could not be started: cannot start `fake` in /nonexistent: no such program, \
                  the last of 3 failures";
    assert_eq!(rejection.reason, reason);
    assert_eq!(world.started().len(), 4, "one before, three tries");
}

#[tokio::test(start_paused = true)]
async fn a_later_deploy_supersedes_one_on_its_way() {
    let world = World::serving(blog()).await;
    world.backend.script(|_| ready_after(20));
    let first = world.supervisor.deploy(None).await.unwrap();
    world.until("started", |app| app.workers.starting == 2).await;
    world.backend.script(|_| Behaviour::default());

    let second = world.supervisor.deploy(None).await.unwrap();
    let (first, second) = tokio::join!(all(first), all(second));

    let superseded = DeployEvent::Superseded { app: blog().name, generation: GenerationId(2) };
    assert!(first.contains(&superseded), "{first:?}");
    assert_eq!(first.last(), second.last(), "it ends as the one that took its place");
    assert!(
        matches!(second.last(), Some(DeployEvent::Done { generation: GenerationId(3), .. })),
        "{second:?}"
    );
    world.at_rest(3).await;
    let orders = world.backend.started();
    assert_eq!(orders.iter().filter(|order| order.generation == GenerationId(2)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_generation_that_is_rejected_closes_the_app_until_it_is_deployed() {
    let world = World::start([blog()], |_| fails_at_once());

    let unserved = world.supervisor.settled().await;

    assert_eq!(unserved[0].app, Some(blog().name));
    assert_eq!(unserved[0].reason, "a worker exited with status 1, the last of 3 failures");
    assert_eq!(world.claim("blog.example").await.err(), Some(ClaimError::Closed));
    let tries = world.started().len();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.started().len(), tries, "a broken release is not tried for ever");
    assert_eq!(world.app().await.doing, "taking no requests: its last deploy was rejected");

    world.backend.script(|_| ready_after(1));
    let events = world.supervisor.deploy(None).await.unwrap();
    world.until("started", |app| app.workers.starting == 2).await;
    assert!(world.claim("blog.example").await.is_ok());
    assert!(matches!(all(events).await.last(), Some(DeployEvent::Done { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_respawn_runs_what_its_own_generation_was_made_of() {
    let world = World::serving(workers(blog(), 1)).await;
    let mut changed = workers(blog(), 1);
    Arc::make_mut(&mut changed.launch).directory = "/srv/releases/2".into();
    world.apps.put(changed);
    world.backend.script(|order| {
        if order.generation == GenerationId(2) { fails_at_once() } else { Behaviour::default() }
    });

    all(world.supervisor.deploy(None).await.unwrap()).await;
    world.backend.crash(WorkerId(1), WorkerExit::Status(1));
    world.until("replaced", |app| world.started().len() == 5 && app.workers.ready == 1).await;

    let last = world.backend.started().pop().unwrap();
    assert_eq!(last.generation, GenerationId(1));
    assert_eq!(last.launch.directory, Path::new("/srv/blog"));
}

#[tokio::test(start_paused = true)]
async fn rules_count_and_hosts_change_only_with_the_promotion() {
    let world = World::serving(blog()).await;
    let mut changed = workers(blog(), 1);
    changed.hosts = vec![host("new.example")];
    Arc::make_mut(&mut changed.rules).max_body = 7;
    world.apps.put(changed);
    world.backend.script(|_| ready_after(5));
    let max_body =
        |host: &str| world.directory.lookup(host).map(|routes| routes.all()[0].app.rules.load().max_body);

    let events = world.supervisor.deploy(None).await.unwrap();
    let app = world.until("started", |app| app.workers.starting == 1).await;
    assert_eq!(
        (app.workers.ready, max_body("blog.example"), max_body("new.example")),
        (2, Some(1 << 20), None)
    );

    all(events).await;
    world.at_rest(2).await;
    assert_eq!((max_body("blog.example"), max_body("new.example")), (None, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_cannot_be_read_any_more_is_rejected() {
    let world = World::serving(blog()).await;
    world.apps.delete("/srv/blog");

    let events = all(world.supervisor.deploy(None).await.unwrap()).await;

    let [DeployEvent::Rejected { rejection, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(rejection.reason, "there is no app at /srv/blog");
    assert_eq!(world.app().await.doing, "serving");

    let error = world.supervisor.deploy(Some(&app("shop").name)).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("no-such-app", "there is no app `shop`"));
}

#[tokio::test(start_paused = true)]
async fn all_apps_are_deployed_side_by_side_and_each_has_its_own_end() {
    let world = World::start([app("a"), app("b")], |_| Behaviour::default());
    assert_eq!(world.supervisor.settled().await, []);
    world
        .backend
        .script(|order| if order.launch.app.as_str() == "a" { fails_at_once() } else { ready_after(9) });

    let events = all(world.supervisor.deploy(None).await.unwrap()).await;

    let ends = events.iter().filter_map(|event| match event {
        DeployEvent::Done { app, .. } => Some((app.as_str(), "done")),
        DeployEvent::Rejected { app, .. } => Some((app.as_str(), "rejected")),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [("a", "rejected"), ("b", "done")]);
}
