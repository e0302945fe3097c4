//! The jobs beside the web workers: the release step of a new version, side processes, commands at times, and the other
//! lines of a Procfile.

use std::path::Path;

use rip_server::api::{AppStatus, JobStatus};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Server, Setup, has, until};

async fn app(server: &Server) -> AppStatus {
    server.status().await.apps.remove(0)
}

/// The lines that jobs have written into a file where test and app meet.
fn written(server: &Server, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(server.root().join("meet").join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn job(server: &Server, name: &str) -> Option<JobStatus> {
    app(server).await.jobs.into_iter().find(|job| job.job == name)
}

/// Replaces a text in the scripted app's settings.
fn edit(server: &Server, from: &str, to: &str) {
    let own = server.root().join("scripted/rip.toml");
    let text = std::fs::read_to_string(&own).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(own, text.replace(from, to)).unwrap();
}

const RELEASE: &str = "release = 'echo migrating; echo $RIP_JOB $RIP_APP $RIP_GENERATION $COLOUR $PWD >> $MEET/released; exit 0'";

#[tokio::test]
async fn a_release_step_runs_once_for_each_deploy_before_any_worker_and_a_failure_rejects_it() {
    let server = Setup::scripted().worker("COLOUR", "blue").rules(RELEASE).start().await;
    let folder = server.root().join("scripted").canonicalize().unwrap();
    let line = |generation| format!("release scripted {generation} blue {}", folder.display());
    assert_eq!(written(&server, "released"), [line(1)]);
    server.output().says("migrating").await;
    server.deploy("two").await;
    assert_eq!(
        written(&server, "released"),
        [line(1), line(2)],
        "also where the server sees no changed file"
    );
    server.ctl(&["deploy", "scripted"]).await.expect(0);
    assert_eq!(written(&server, "released").len(), 3);
    let serving = app(&server).await.generation;
    assert_eq!(serving.0, 3);

    let workers = server.worker_pids().await;
    edit(&server, "exit 0", "echo no such table: users; exit 3");
    let failed = server.ctl(&["deploy"]).await.expect(1);
    for part in
        ["the release step `echo migrating; ", "` exited with status 3", "migrating", "no such table: users"]
    {
        assert!(failed.err.contains(part), "{part}: {}", failed.err);
    }
    assert_eq!(server.worker_pids().await, workers, "no worker was started, and the old ones serve");
    let now = app(&server).await;
    assert_eq!((now.generation, now.doing.as_str()), (serving, "serving"));
    assert!(now.rejected.unwrap().output.contains(&"no such table: users".to_owned()));
    assert_eq!(server.get("/").await.status, 200);

    // The step failed, so that it runs again although nothing has changed.
    server.ctl(&["deploy"]).await.expect(1);
    edit(&server, "exit 3", "exit 0");
    server.ctl(&["deploy"]).await.expect(0);
    let count = written(&server, "released").len();
    server.ctl(&["rollback"]).await.expect(0);
    assert_eq!(written(&server, "released").len(), count, "a rollback releases nothing");
}

#[tokio::test]
async fn a_release_step_does_not_run_again_at_a_restart_but_for_new_content() {
    let start = || Setup::scripted().rules(RELEASE);
    let mut server = start().start().await;
    assert_eq!(written(&server, "released").len(), 1);
    server.signal(Signal::TERM);
    assert!(server.ended().await.success());
    let server = start().start_in(server.kill()).await;
    assert_eq!(written(&server, "released").len(), 1);
    let folder = server.kill();
    let server = Setup::scripted().rules(RELEASE).rules("concurrency = 2").start_in(folder).await;
    assert_eq!(written(&server, "released").len(), 2);
}

#[tokio::test]
async fn a_first_version_whose_release_step_fails_is_not_served_until_it_succeeds() {
    let setup = Setup::scripted().rules("release = ['sh', '-c', 'test -e $MEET/ready']").without_workers();
    let server = setup.start().await;
    until("it is rejected", || async { app(&server).await.rejected.is_some() }).await;
    let rejected = app(&server).await.rejected.unwrap();
    assert_eq!(rejected.reason, "the release step `sh -c test -e $MEET/ready` exited with status 1");
    assert_eq!(server.get("/").await.status, 503);
    std::fs::write(server.root().join("meet/ready"), "").unwrap();
    server.ctl(&["deploy"]).await.expect(0);
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_release_step_that_hangs_is_ended_at_its_limit_and_with_the_deploy_that_wanted_it() {
    let hangs = "release = 'echo waiting; trap \"\" TERM; while test -e $MEET/hang; do sleep 0.05; done'";
    let setup = Setup::scripted()
        .rules(hangs)
        .rules("release_timeout = '1s'\ntimeouts.drain = '0s'\ntimeouts.kill = '300ms'");
    let server = setup.start().await;
    std::fs::write(server.root().join("meet/hang"), "").unwrap();
    let failed = server.ctl(&["deploy", "scripted"]).await.expect(1);
    assert!(failed.err.contains("was not over within 1 s, which `release_timeout` allows"), "{}", failed.err);
    assert!(failed.err.contains("waiting"), "{}", failed.err);
    assert_eq!(server.get("/").await.status, 200);
    until("it is gone", || async { app(&server).await.jobs.is_empty() }).await;
    edit(&server, "release_timeout = '1s'", "release_timeout = '1h'");
    let ctl = server.ctl(&["deploy"]);
    let second = async {
        until("it runs", || async { job(&server, "release").await.is_some() }).await;
        assert_eq!(app(&server).await.doing, "running the release step of generation 3");
        std::fs::remove_file(server.root().join("meet/hang")).unwrap();
        edit(&server, "echo waiting", "echo other");
        server.ctl(&["deploy"]).await.expect(0);
    };
    let (first, ()) = tokio::join!(ctl, second);
    first.expect(0);
    assert_eq!(app(&server).await.generation.0, 4);
}

#[tokio::test]
async fn side_processes_run_beside_the_workers_and_are_replaced_after_a_deploy() {
    let process = "process.mailer = { command = 'echo $RIP_JOB $RIP_GENERATION $$ >> $MEET/mailer; exec sleep 600', count = 2 }";
    let mut server = Setup::scripted().rules(process).start().await;
    until("two run", || async { written(&server, "mailer").len() == 2 }).await;
    let lines = written(&server, "mailer");
    assert!(lines.iter().all(|line| line.starts_with("process.mailer 1 ")), "{lines:?}");
    let status = job(&server, "process.mailer").await.unwrap();
    assert_eq!((status.wanted, status.running, status.workers.len()), (2, 2, 2), "{status:?}");
    let page = server.ctl(&["status"]).await.expect(0).out;
    assert!(page.contains("process.mailer: echo $RIP_JOB") && page.contains("2 of 2 running"), "{page}");
    assert_eq!(server.workers().await.workers.len(), 1, "they are no web workers");

    server.deploy("two").await;
    until("two of the new version run", || async {
        written(&server, "mailer").iter().filter(|line| line.starts_with("process.mailer 2 ")).count() == 2
    })
    .await;
    until("the old ones are gone", || async {
        job(&server, "process.mailer").await.unwrap().workers.len() == 2
    })
    .await;

    let victim = written(&server, "mailer").pop().unwrap();
    let victim: i32 = victim.rsplit(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(victim).unwrap(), Signal::KILL).unwrap();
    until("it is started again", || async { written(&server, "mailer").len() == 5 }).await;
    server.output().says("process.mailer was killed by signal 9").await;
    edit(&server, "count = 2", "count = 1");
    server.ctl(&["deploy"]).await.expect(0);
    until("one runs", || async { job(&server, "process.mailer").await.unwrap().workers.len() == 1 }).await;
    edit(&server, "process.mailer", "process.other");
    server.ctl(&["deploy"]).await.expect(0);
    until("only the other runs", || async {
        let jobs = app(&server).await.jobs;
        jobs.len() == 1 && jobs[0].job == "process.other" && jobs[0].running == 1
    })
    .await;
    server.signal(Signal::TERM);
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_side_process_that_never_starts_is_told_and_takes_no_worker_down() {
    let rules =
        "process.typo = { command = ['no-such-program'] }\nprocess.sad = { command = 'echo sad; exit 7' }";
    let server = Setup::scripted().rules(rules).start().await;
    for (name, why) in [
        ("process.typo", "could not be started: cannot start `no-such-program`"),
        ("process.sad", "exited with status 7"),
    ] {
        until(&format!("{name} fails three times"), || async {
            job(&server, name).await.is_some_and(|job| job.doing.contains("3 times in a row"))
        })
        .await;
        let job = job(&server, name).await.unwrap();
        assert!(job.doing.contains(why) && job.doing.contains("it is started again in"), "{job:?}");
        assert_eq!(server.output().count(&format!("{name} does not stay")), 1);
    }
    let now = app(&server).await;
    assert_eq!((now.doing.as_str(), now.workers.ready), ("serving", 1));
    assert_eq!(server.get("/status").await.json::<serde_json::Value>()["status"], "healthy");
    server.output().says("sad").await;
    server.ctl(&["deploy"]).await.expect(0);
}

/// Writes an app with a Procfile of three lines.
fn with_procfile(folder: &Path) {
    let app = folder.join("shop");
    std::fs::create_dir_all(&app).unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/procfile");
    for file in ["web.py", "VERSION"] {
        std::fs::copy(sample.join(file), app.join(file)).unwrap();
    }
    let lines = "web: python3 web.py $PORT\nrelease: echo released $RIP_GENERATION >> log\nmailer: echo mailer >> log; exec sleep 600\n";
    std::fs::write(app.join("Procfile"), lines).unwrap();
}

#[tokio::test]
async fn the_other_lines_of_a_procfile_run_when_somebody_says_so() {
    if !has("python3", "python3") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
    with_procfile(folder.path());
    let shop = folder.path().join("shop");
    let server = Setup::app(&shop).words(&["w:1"]).start_in(folder).await;
    let described = app(&server).await.described;
    let left_out = "; the lines release, mailer of its Procfile are not run: processes = true runs them";
    assert!(described.ends_with(left_out), "{described}");
    assert!(app(&server).await.jobs.is_empty() && !shop.join("log").exists());
    let folder = server.kill();

    let server = Setup::app(&shop).words(&["w:1", "--processes"]).start_in(folder).await;
    let lines = || std::fs::read_to_string(shop.join("log")).unwrap_or_default();
    until("both ran", || async { lines() == "released 1\nmailer\n" }).await;
    assert_eq!(job(&server, "process.mailer").await.unwrap().running, 1);
    assert!(!app(&server).await.described.contains("Procfile are not run"));
    std::fs::write(
        shop.join("rip.toml"),
        "processes = true\nprocess.mailer = { command = 'echo own >> log; exec sleep 600' }",
    )
    .unwrap();
    server.ctl(&["deploy"]).await.expect(0);
    until("the app's own has its place", || async { lines().ends_with("released 2\nown\n") }).await;
}

#[tokio::test]
async fn the_sample_is_released_and_has_its_mailer_and_its_clean_up() {
    if !has("python3", "python3") {
        return;
    }
    let server = Setup::demo("jobs").words(&["w:1", "--reload=none"]).start().await;
    for line in ["release of generation 1: release is done", "the mailer waits for mail"] {
        server.output().says(line).await;
    }
    assert_eq!(server.get("/").await.text(), "hello from jobs\n");
    server.ctl(&["run", "--timer", "clean"]).await.expect(0);
    server.output().says("timer.clean of generation 1: clean is done").await;
    assert_eq!(job(&server, "process.mailer").await.unwrap().running, 1);
}

#[tokio::test]
async fn a_timer_runs_its_command_again_and_again_and_never_twice_at_a_time() {
    let rules = "timer.tick = { command = 'echo $RIP_JOB $RIP_GENERATION >> $MEET/tick', every = '1s' }\n\
                 timer.long = { command = 'echo long >> $MEET/long; while test ! -e $MEET/over; do sleep 0.05; done; exit 4', every = '1s' }";
    let server = Setup::scripted().rules(rules).start().await;
    until("it runs twice", || async { written(&server, "tick").len() >= 2 }).await;
    assert_eq!(written(&server, "tick")[0], "timer.tick 1");
    until("two runs are skipped", || async { server.output().count("this one is skipped") >= 2 }).await;
    assert_eq!(written(&server, "long").len(), 1);
    let long = job(&server, "timer.long").await.unwrap();
    assert!(
        long.running == 1 && long.doing.contains("skipped") && long.command.ends_with("exit 4 every 1s"),
        "{long:?}"
    );
    let refused = server.ctl(&["run", "scripted", "--timer", "long"]).await.expect(5);
    assert!(refused.err.contains("timer.long of `scripted` runs already, as worker "), "{}", refused.err);
    std::fs::write(server.root().join("meet/over"), "").unwrap();
    until("its end is told", || async {
        job(&server, "timer.long").await.unwrap().doing.contains("the last run exited with status 4")
    })
    .await;
}

#[tokio::test]
async fn a_timer_of_a_calendar_is_due_by_the_calendar_and_can_be_run_at_once() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let rules = "timer.often = { command = 'echo often >> $MEET/often', at = '*-*-* *:*:*' }\n\
                 timer.new-year = { command = 'echo now >> $MEET/year; exit 0', at = '*-01-01 00:00:00' }";
    let server = Setup::scripted().rules(rules).start().await;
    until("it runs twice", || async { written(&server, "often").len() >= 2 }).await;
    until("its next time is known", || async {
        job(&server, "timer.new-year").await.unwrap().doing.starts_with("next in ")
    })
    .await;
    let told = server.ctl(&["run", "--timer", "new-year"]).await.expect(0);
    assert!(told.err.contains("timer.new-year of scripted runs as worker "), "{}", told.err);
    until("it has run", || async { written(&server, "year") == ["now"] }).await;
    let unknown = server.ctl(&["run", "scripted", "--timer", "x"]).await.expect(4);
    assert!(unknown.err.contains("`scripted` has no timer `x`; there is new-year, often"), "{}", unknown.err);
}

#[tokio::test]
async fn each_wrong_setting_is_one_error_and_the_old_version_serves_on() {
    let server = Setup::scripted().start().await;
    let own = server.root().join("scripted/rip.toml");
    let right = std::fs::read_to_string(&own).unwrap();
    for (line, expected) in [
        ("release = 7", "release"),
        ("release = ''", "a line for a shell"),
        ("release_timeout = 'soon'", "a time above zero"),
        ("process = 'x'", "tables [process.NAME]"),
        ("process.a = { count = 2 }", "`command` in [process.a]"),
        ("process.a = { command = 'x', count = 0 }", "`count` of [process.a]"),
        ("process.a = { command = 'x', user = 'root' }", "no key `user`"),
        ("processes = 'maybe'", "true or false"),
        ("timer.a = { command = 'x' }", "one of both is needed"),
        ("timer.a = { command = 'x', every = '1s', at = 'daily' }", "not both"),
        ("timer.a = { command = 'x', every = '0s' }", "at least 1 s"),
        (
            "timer.a = { command = 'x', at = 'when it rains' }",
            "`at` of [timer.a]: `when it rains` is no time of a calendar",
        ),
    ] {
        std::fs::write(&own, format!("{right}\n{line}\n")).unwrap();
        let failed = server.ctl(&["deploy"]).await.expect(1);
        assert!(failed.err.contains(expected), "{line}: {}", failed.err);
        assert_eq!(server.get("/").await.status, 200);
    }
}
