//! Release steps, side processes and commands at times, beside scripted workers and under paused time.

use std::collections::BTreeMap;

use super::*;
use crate::backend::{Order, Started};
use crate::spec::jobs::{SideProcess, SideProcesses, TimedCommand, TimedCommands, Times};
use crate::spec::{JobName, JobSettings};

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

fn with_release(limit: u64) -> AppSpec {
    let jobs = JobSettings {
        release: words("migrate now"),
        release_timeout: Duration::from_secs(limit),
        ..JobSettings::default()
    };
    AppSpec { jobs: Arc::new(jobs), ..blog() }
}

fn with_process(count: usize) -> AppSpec {
    let mail = SideProcess { command: words("mail"), count };
    let side_processes = SideProcesses(BTreeMap::from([("mail".to_owned(), mail)]));
    AppSpec { jobs: Arc::new(JobSettings { side_processes, ..JobSettings::default() }), ..blog() }
}

fn with_timer(seconds: u64) -> AppSpec {
    let clean = TimedCommand { command: words("clean"), times: Times::Every(Duration::from_secs(seconds)) };
    let timers = TimedCommands(BTreeMap::from([("clean".to_owned(), clean)]));
    AppSpec { jobs: Arc::new(JobSettings { timers, ..JobSettings::default() }), ..blog() }
}

fn ends_after(seconds: u64, exit: WorkerExit) -> Behaviour {
    Behaviour { exit_after: Some((Duration::from_secs(seconds), exit)), ..Behaviour::default() }
}

/// A script by which jobs do this, and workers are ready at once.
fn jobs_do(job: Behaviour) -> impl FnMut(&Order) -> Behaviour {
    move |order| if order.launch.job.is_some() { job } else { Behaviour::default() }
}

/// The jobs that were started, in their order.
fn jobs(world: &World) -> Vec<(u64, u64, String)> {
    let orders = world.backend.started().into_iter();
    orders
        .filter_map(|order| {
            Some((order.worker.0, order.generation.0, order.launch.job.as_ref()?.to_string()))
        })
        .collect()
}

/// Whether the only job does what this says.
fn does(app: &AppStatus, what: &str) -> bool {
    app.jobs.first().is_some_and(|job| job.doing.contains(what))
}

fn runs(app: &AppStatus, count: usize) -> bool {
    app.jobs.first().is_some_and(|job| job.running == count)
}

fn reason(events: &[DeployEvent]) -> &str {
    match events.last() {
        Some(DeployEvent::Rejected { rejection, .. }) => &rejection.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_worker_is_started_before_the_release_step_has_succeeded() {
    let world = World::start([with_release(600)], jobs_do(ends_after(5, WorkerExit::Status(0))));
    world.until("releasing", |app| !app.jobs.is_empty()).await;
    let app = world.app().await;
    assert_eq!((app.doing.as_str(), app.jobs[0].running), ("running the release step of generation 1", 1));
    assert_eq!(world.started(), [1]);
    assert_eq!(world.supervisor.settled().await, []);
    world.at_rest(1).await;
    let order = &world.backend.started()[0];
    assert_eq!(
        (order.launch.job.clone(), order.launch.command.clone()),
        (Some(JobName::Release), words("migrate now"))
    );
    assert_eq!(world.started(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_release_step_that_fails_or_hangs_rejects_the_deploy_and_no_worker_is_touched() {
    let world = World::serving(blog()).await;
    world.apps.put(with_release(60));
    for (job, why, lasts) in [
        (ends_after(5, WorkerExit::Status(3)), "exited with status 3", 5),
        (ends_after(5, WorkerExit::Signal(11)), "was killed by signal 11", 5),
        (Behaviour { start_error: true, ..Behaviour::default() }, "could not be started: ", 0),
        (Behaviour { on_terminate: None, ..Behaviour::default() }, "was not over within 1 min", 60),
    ] {
        world.backend.script(jobs_do(job));
        let begun = Instant::now();
        let events = all(world.supervisor.deploy(Some(&blog().name)).await.unwrap()).await;
        assert!(reason(&events).starts_with(&format!("the release step `migrate now` {why}")), "{events:?}");
        assert_eq!(begun.elapsed().as_secs(), lasts, "{why}");
        assert_eq!(world.app().await.generation.0, 1);
    }
    // The one that ignores SIGTERM is killed after its time.
    world.until("it is killed", |app| app.jobs.is_empty()).await;
    assert_eq!(world.signalled(Signal::Kill).len(), 1);
    assert_eq!(world.backend.alive().len(), 2, "the two workers");
}

#[tokio::test(start_paused = true)]
async fn a_later_deploy_ends_the_release_step_before_it_begins_its_own() {
    let world = World::serving(blog()).await;
    world.apps.put(with_release(600));
    let slow = Behaviour { on_terminate: Some(Duration::from_secs(3)), ..Behaviour::default() };
    world.backend.script(jobs_do(slow));
    let first = world.supervisor.deploy(Some(&blog().name)).await.unwrap();
    world.until("it runs", |app| !app.jobs.is_empty()).await;
    world.backend.script(jobs_do(ends_after(1, WorkerExit::Status(0))));
    let begun = Instant::now();
    let second = world.supervisor.deploy(Some(&blog().name)).await.unwrap();
    let (first, second) = tokio::join!(all(first), all(second));
    for events in [first, second] {
        assert!(
            matches!(events.last(), Some(DeployEvent::Done { generation: GenerationId(3), .. })),
            "{events:?}"
        );
    }
    assert_eq!(begun.elapsed().as_secs(), 4, "three until the old one is gone, and one for the new one");
    let kinds: Vec<_> = jobs(&world).into_iter().map(|(_, generation, job)| (generation, job)).collect();
    assert_eq!(kinds, [(2, "release".to_owned()), (3, "release".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn side_processes_start_when_the_workers_serve_and_those_of_before_are_gone_first() {
    let world = World::start([with_process(2)], |order| match order.launch.job {
        Some(_) => Behaviour { on_terminate: Some(Duration::from_secs(4)), ..Behaviour::default() },
        None => ready_after(3),
    });
    world.until("serving", |app| app.workers.ready == 2).await;
    world.until("both run", |app| runs(app, 2)).await;
    let of = |generation: u64, workers: [u64; 2]| {
        workers.map(|worker| (worker, generation, "process.mail".to_owned()))
    };
    assert_eq!(jobs(&world), of(1, [3, 4]));

    all(world.supervisor.deploy(None).await.unwrap()).await;
    world.until("the old ones are ending", |app| runs(app, 0)).await;
    assert_eq!(jobs(&world).len(), 2);
    world.until("the new ones run", |app| runs(app, 2)).await;
    assert_eq!(jobs(&world)[2..], of(2, [7, 8]));
    assert_eq!(world.app().await.jobs[0].workers.len(), 2);

    world.supervisor.stop(Duration::from_secs(30)).await;
    assert_eq!(world.backend.alive(), []);
}

#[tokio::test(start_paused = true)]
async fn a_side_process_that_does_not_stay_is_started_with_pauses_and_the_app_is_well() {
    let world = World::start([with_process(1)], jobs_do(ends_after(0, WorkerExit::Status(0))));
    let app = world.until("it has failed often", |app| does(app, "6 times in a row")).await;
    assert!(app.jobs[0].doing.contains("the last one exited with status 0"), "{app:?}");
    assert_eq!((app.doing.as_str(), app.workers.ready), ("serving", 2));
    let begun = Instant::now();
    world.backend.script(jobs_do(Behaviour::default()));
    world.until("it stays", |app| runs(app, 1)).await;
    assert!((31..=33).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_timer_runs_again_and_again_and_a_run_that_is_not_over_is_not_doubled() {
    let world = World::start([with_timer(10)], jobs_do(ends_after(25, WorkerExit::Status(0))));
    world.at_rest(1).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    // Due at 10, 20 …, 60: it runs from 10 to 35 and from 40 to 65.
    assert_eq!(jobs(&world).len(), 2);
    let app = world.app().await;
    assert!(app.jobs[0].doing.contains(", 4 skipped"), "{app:?}");
    let again = world.supervisor.run_timer(None, "clean".into()).await.unwrap_err();
    assert_eq!(
        (again.code(), again.to_string().as_str()),
        ("conflict", "timer.clean of `blog` runs already, as worker 4")
    );
    world.until("it is over", |app| runs(app, 0)).await;
    let (app, worker) = world.supervisor.run_timer(None, "clean".into()).await.unwrap();
    assert_eq!((app, worker), (blog().name, WorkerId(5)));
    let unknown = world.supervisor.run_timer(None, "x".into()).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.to_string().as_str()),
        ("no-such-timer", "`blog` has no timer `x`; there is clean")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deploy_lets_a_timer_s_run_end_and_goes_on_counting() {
    let world = World::start([with_timer(10)], jobs_do(ends_after(3, WorkerExit::Status(0))));
    world.at_rest(1).await;
    let begun = Instant::now();
    world.until("it runs", |app| runs(app, 1)).await;
    all(world.supervisor.deploy(None).await.unwrap()).await;
    assert_eq!(world.app().await.jobs[0].running, 1);
    world.until("it has run twice", |_| jobs(&world).len() == 2).await;
    assert_eq!(jobs(&world).iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>(), [1, 2]);
    assert!((19..=20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn jobs_of_an_earlier_server_go_on_if_they_are_still_the_same() {
    let spec = with_process(1);
    let fingerprint = |job: &JobName, command: &str| {
        let timeouts = spec.rules.timeouts;
        let launch = spec.launch.of_job(job.clone(), words(command), timeouts.drain.max(timeouts.kill));
        FakeBackend::new(mpsc::channel(1).0).fingerprint(&launch)
    };
    let left = |worker: u64, job: JobName, command: &str| SurvivingWorker {
        worker: WorkerId(worker),
        app: blog().name,
        generation: GenerationId(7),
        started: Started { pid: 1, address: None },
        fingerprint: fingerprint(&job, command),
        since: std::time::SystemTime::now(),
        job: Some(job),
    };
    let worker = SurvivingWorker {
        fingerprint: FakeBackend::new(mpsc::channel(1).0).fingerprint(&spec.launch),
        started: Started { pid: 1, address: Some(crate::pool::Address::Unix("/nonexistent/1.sock".into())) },
        job: None,
        ..left(1, JobName::Release, "x")
    };
    let process = |name: &str| JobName::Process(name.into());
    let found = [
        worker,
        left(2, process("mail"), "mail"),
        left(3, process("gone"), "mail"),
        left(4, process("mail"), "mail --old"),
        left(5, JobName::Release, "migrate"),
    ];
    let world = World::after(spec.clone(), Some(7), found, |_| Behaviour::default());
    world.at_rest(7).await;
    let app =
        world.until("the others are gone", |app| app.jobs.len() == 1 && app.jobs[0].workers.len() == 1).await;
    assert_eq!(app.jobs[0].workers, [WorkerId(2)]);
    let mut told = world.terminated();
    told.sort_unstable();
    assert_eq!(told, [3, 4, 5]);
    assert_eq!(jobs(&world), [], "none was started");
}
