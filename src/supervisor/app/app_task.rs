//! Owns the task of one app: the task gets all events of the app and has its parts do what follows.
//!
//! Never here: deciding what follows, which `plan`, `worker_state` and `crash_budget` do, without a clock or a process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::api::Scaled;
use crate::backend::{SurvivingWorker, WorkerEvent};
use crate::directory::App;
use crate::name::{GenerationId, WorkerId};
use crate::pool::{Mode, PoolWriter};
use crate::spec::{AppSpec, WorkerRange, canary::CanaryWish};

use super::adoption::{Adoption, Starts};
use super::deploy_observer::DeployObserver;
use super::facts::{AppFacts, EndNotice, FactsWriter};
use super::file_changes::{FileAction, FileChanges};
use super::generations::deploys::Deploys;
use super::job_runner::JobRunner;
use super::messages::{AppCommand, TaskReport};
use super::phase_change::{PhaseInput, WorkerNews};
use super::plan::{Step, plan};
use super::status::StatusView;
use super::worker_starter::WorkerStarter;
use super::worker_state::WorkerPhase;
use super::workers::AppWorkers;
use crate::supervisor::app_context::AppContext;
use crate::supervisor::files::file_watch::FileChange;

struct AppTask {
    app: Arc<App>,
    ctx: AppContext,
    pool: PoolWriter,
    workers: AppWorkers,
    deploys: Deploys,
    jobs: JobRunner,
    files: FileChanges,
    stopping: bool,
    /// The notice is the last field, so that the facts, a part of `deploys`, are dropped before it: their end is the
    /// news.
    _end_notice: EndNotice,
}

/// The channels that the task listens to.
struct Mailboxes {
    commands: mpsc::Receiver<AppCommand>,
    events: mpsc::Receiver<WorkerEvent>,
    /// The lines that workers have written to the data path.
    output: mpsc::Receiver<(WorkerId, String)>,
    reports: mpsc::Receiver<TaskReport>,
    changes: mpsc::Receiver<FileChange>,
}

/// The handle by which others reach the task of an app.
pub(in crate::supervisor) struct AppHandle {
    pub(in crate::supervisor) commands: mpsc::Sender<AppCommand>,
    pub(in crate::supervisor) facts: watch::Receiver<AppFacts>,
}

/// Starts the task of an app with the workers that an earlier server has left, or with its first generation.
pub(in crate::supervisor) fn start(
    app: Arc<App>,
    pool: PoolWriter,
    spec: AppSpec,
    observer: Option<DeployObserver>,
    surviving: Vec<SurvivingWorker>,
    ctx: AppContext,
) -> AppHandle {
    let (commands, command_receiver) = mpsc::channel(MAILBOX);
    let (events, event_receiver) = mpsc::channel(MAILBOX);
    let (reports, report_receiver) = mpsc::channel(MAILBOX);
    let (changes, change_receiver) = mpsc::channel(1);
    let (output, output_receiver) = mpsc::channel(LINES);
    let (facts, facts_receiver) = FactsWriter::new(Arc::clone(&ctx.news));
    let mailboxes = Mailboxes {
        commands: command_receiver,
        events: event_receiver,
        output: output_receiver,
        reports: report_receiver,
        changes: change_receiver,
    };
    let (stop, spec) = (ctx.stop.clone(), Arc::new(spec));
    let (left, surviving): (Vec<_>, _) = surviving.into_iter().partition(|found| found.job.is_some());
    let adoption = Adoption::of(&spec, surviving, &ctx);
    let latest = left.iter().map(|job| job.generation).max().max(Some(adoption.latest)).unwrap_or_default();
    let part = || (Arc::clone(&app), ctx.clone(), pool.clone());
    let (its_app, its_ctx, its_pool) = part();
    let starter = WorkerStarter { ctx: ctx.clone(), events, reports: reports.clone() };
    let jobs = JobRunner::new(app.name.clone(), starter.clone());
    let workers = AppWorkers::new(its_app, its_ctx, its_pool, starter, reports.clone(), output);
    let (its_app, its_ctx, its_pool) = part();
    let deploys = Deploys::new(its_app, its_ctx, its_pool, facts, spec, latest, reports);
    let mut task = AppTask {
        workers,
        deploys,
        jobs,
        files: FileChanges::new(changes, stop.clone()),
        stopping: false,
        _end_notice: EndNotice(Arc::clone(&ctx.news)),
        app,
        ctx,
        pool,
    };
    task.begin(adoption, observer);
    let happened = task.jobs.adopt(left, task.deploys.set().spec());
    happened.into_iter().for_each(|event| task.worker_event(event));
    stop.spawn("app", task.run(mailboxes));
    AppHandle { commands, facts: facts_receiver }
}

impl AppTask {
    /// Begins with the workers of an earlier server, if they can go on, else with a first generation.
    fn begin(&mut self, adoption: Adoption, observer: Option<DeployObserver>) {
        let Some((generation, workers, starts)) = adoption.serving else { return self.begin_first(observer) };
        self.deploys.adopt(generation, workers.len(), starts);
        for worker in workers {
            // The clock may have been set back meanwhile.
            let age = SystemTime::now().duration_since(worker.since).unwrap_or_default();
            let (input, happened) = self.workers.adopt(worker, self.deploys.set().spec(), age);
            self.advance([input]);
            happened.into_iter().for_each(|event| self.worker_event(event));
        }
        match starts {
            Starts::Alike => self.files.look_at(self.deploys.set().spec()),
            // The earlier generation serves until the new one does.
            Starts::Never => self.begin_first(observer),
        }
    }

    fn begin_first(&mut self, observer: Option<DeployObserver>) {
        self.deploys.begin_first(observer);
        self.files.look_at(self.deploys.set().spec());
    }

    async fn run(mut self, mut mailboxes: Mailboxes) {
        let mut quiet_until = Instant::now();
        loop {
            self.settle();
            if self.stopping && self.workers.is_empty() && self.jobs.jobs().is_empty() {
                break;
            }
            let now = Instant::now();
            // An app that ends starts nothing more, so nothing about its generations is due.
            let due = (!self.stopping).then(|| self.deploys.set().wake_at(now)).flatten();
            let jobs = self.jobs.jobs().wake_at(self.deploys.set().releasing(), now);
            let wake = [self.workers.wake_at(), due, jobs].into_iter().flatten().min();
            // Each branch only receives, so that one that is dropped half-way has taken nothing.
            tokio::select! {
                biased;
                Some(command) = mailboxes.commands.recv() => self.command(command),
                Some(event) = mailboxes.events.recv() => {
                    self.worker_event(event);
                    // Lines come in hundreds and change nothing, so that one look at the workers after them is enough.
                    while let Ok(event) = mailboxes.events.try_recv() {
                        self.worker_event(event);
                    }
                }
                Some((worker, line)) = mailboxes.output.recv() => {
                    self.worker_event(WorkerEvent::Output(worker, line));
                    while let Ok((worker, line)) = mailboxes.output.try_recv() {
                        self.worker_event(WorkerEvent::Output(worker, line));
                    }
                }
                Some(report) = mailboxes.reports.recv() => self.task_report(report),
                Some(change) = mailboxes.changes.recv() => self.files_changed(change),
                // A full queue wakes this task for every request that joins it.
                () = self.pool.changed(), if now >= quiet_until => quiet_until = now + QUIET,
                () = sleep_until(quiet_until), if now < quiet_until => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
        self.ctx.output.forget(&self.app.name);
    }

    fn command(&mut self, command: AppCommand) {
        // The asker may have gone; then nobody needs the answer.
        match command {
            AppCommand::Deploy(observer, wish) => self.deploy(observer, "asked for", wish),
            AppCommand::Promote(observer, reply) => drop(reply.send(self.deploys.promote_canary(observer))),
            AppCommand::Abort(reply) => drop(reply.send(self.deploys.abort("asked for"))),
            AppCommand::RollBack(observer, reply) => drop(reply.send(self.roll_back(observer))),
            AppCommand::Serving(reply) => {
                let serving = self.deploys.set().current();
                drop(reply.send(serving.map(|serving| (serving.id, Arc::clone(&serving.spec.launch)))));
            }
            AppCommand::RunTimer(name, reply) => {
                let serving = self.deploys.set().serving().filter(|_| !self.stopping);
                drop(reply.send(self.jobs.run_timer(&name, serving)));
            }
            AppCommand::Scale(count, reply) => drop(reply.send(self.scale(count))),
            AppCommand::Status(reply) => drop(reply.send(self.view().status())),
            AppCommand::Workers(reply) => drop(reply.send(self.view().workers())),
            AppCommand::Stop(drain) => self.stop(drain),
            AppCommand::Leave => self.leave(),
        }
    }

    fn view(&self) -> StatusView<'_> {
        StatusView {
            app: &self.app,
            pool: &self.pool,
            workers: &self.workers,
            generations: self.deploys.set(),
            jobs: self.jobs.jobs(),
            stopping: self.stopping,
        }
    }

    fn scale(&mut self, count: WorkerRange) -> Scaled {
        let (before, now) = self.deploys.scale(count);
        tracing::info!(app = %self.app.name, before, now, "number of workers changed");
        Scaled { ok: true, app: self.app.name.clone(), before, now }
    }

    /// Lets every worker finish within `drain`.
    fn stop(&mut self, drain: Option<Duration>) {
        const WHY: &str = "the app is being stopped";
        if !self.stopping {
            tracing::info!(app = %self.app.name, "app is being stopped");
        }
        self.close(WHY);
        self.jobs.stop(drain);
        self.advance(self.workers.retire_all(drain, WHY));
    }

    /// Leaves every worker as it is, where workers outlive their server.
    fn leave(&mut self) {
        let workers = self.workers.records().count();
        tracing::info!(app = %self.app.name, workers, "the workers are left for the next server");
        self.close("the server is being restarted");
        self.workers.leave();
        self.jobs.leave();
    }

    fn close(&mut self, why: &str) {
        self.stopping = true;
        self.files.close();
        self.pool.set_mode(Mode::Closed);
        self.deploys.give_up(why);
    }

    fn deploy(&mut self, mut observer: Option<DeployObserver>, why: &str, wish: Option<CanaryWish>) {
        if !self.stopping && !self.deploys.is_refused(&mut observer, why) {
            self.files.begin_reading();
            self.deploys.begin(observer, why, wish);
        }
    }

    fn roll_back(&mut self, observer: Option<DeployObserver>) -> Result<(), GenerationId> {
        self.deploys.roll_back(observer)?;
        self.files.look_at(self.deploys.set().spec());
        Ok(())
    }

    /// Takes in an event of a worker from the backend.
    fn worker_event(&mut self, event: WorkerEvent) {
        let of =
            |worker| self.workers.generation_of(worker).or_else(|| self.jobs.jobs().generation_of(worker));
        let input = match event {
            WorkerEvent::Exited(worker, exit) if self.is_job(worker) => {
                return self.deploys.released(self.jobs.exited(worker, exit));
            }
            WorkerEvent::Ready(worker) => self.workers.said_ready(worker),
            WorkerEvent::Ending(worker, exit) => self.workers.ending(worker, exit),
            WorkerEvent::Exited(worker, exit) => Some(self.workers.exited(worker, exit)),
            WorkerEvent::Output(worker, line) => {
                return self.deploys.wrote(of(worker), worker, line);
            }
            WorkerEvent::LastLines(worker, lines) => {
                return self.deploys.last_lines(of(worker), worker, &lines);
            }
        };
        self.advance(input);
    }

    fn is_job(&self, worker: WorkerId) -> bool {
        self.jobs.jobs().generation_of(worker).is_some()
    }

    /// Takes in the report of a task that this one has started.
    fn task_report(&mut self, report: TaskReport) {
        match report {
            TaskReport::Started(worker, started) if self.is_job(worker) => {
                self.deploys.released(self.jobs.started(worker, started));
            }
            TaskReport::Elapses(timer, next) => self.jobs.learn(&timer, next),
            TaskReport::Started(worker, started) => {
                let input = self.workers.started(worker, started);
                self.advance(input);
            }
            TaskReport::Answered(worker) => self.advance(self.workers.ready(worker, "answered")),
            TaskReport::Seen(generation, content) => self.deploys.seen(generation, *content),
            TaskReport::Resolved(generation, read, content) => {
                // A deploy that was superseded meanwhile no longer needs the report.
                if self.deploys.set().deploy().is_some_and(|deploy| deploy.id == generation) {
                    let content = content.map(|content| *content);
                    self.files.note_read(content.as_ref().map(|content| content.seen.clone()));
                    if self.deploys.resolved(generation, *read, content) {
                        self.files.look_at(self.deploys.set().spec());
                    }
                    if let Some(change) = self.files.take_meanwhile() {
                        self.files_changed(change);
                    }
                }
            }
            TaskReport::Liveness { worker, silent } => self.workers.liveness(worker, silent),
        }
    }

    fn files_changed(&mut self, change: FileChange) {
        let activity = self.deploys.set().activity();
        match self.files.action(change, self.deploys.set().spec(), activity) {
            FileAction::Nothing => {}
            FileAction::Reload(signal) => {
                tracing::info!(app = %self.app.name, ?signal, "entry changed: workers are told to load it anew");
                self.workers.reload(signal);
            }
            FileAction::Deploy(why) => self.deploy(None, why, None),
        }
    }

    /// Moves workers on, one after the other, and tells their generations what that means.
    fn advance(&mut self, inputs: impl IntoIterator<Item = PhaseInput>) {
        for input in inputs {
            let Some(change) = self.workers.advance(input) else { continue };
            if change.ends_start() {
                let is_ready = change.to == WorkerPhase::Ready;
                self.deploys.start_ended(change.generation, change.worker, is_ready);
            }
            for news in self.workers.carry_out(change) {
                match news {
                    WorkerNews::Ready(generation) => {
                        let ready = self.workers.ready_of(generation).count();
                        self.deploys.worker_ready(generation, ready);
                    }
                    WorkerNews::Failed { generation, failure, why } => {
                        self.deploys.worker_failed(generation, failure, &why);
                    }
                }
            }
        }
    }

    /// Looks at everything that may have changed, and does what follows, until nothing more follows.
    fn settle(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let now = Instant::now();
            let told = self.workers.read_pool(now);
            self.advance(told);
            let due = self.workers.read_clock(now);
            self.advance(due);
            self.deploys.end_probation(now);
            if self.stopping {
                break;
            }
            if let Some(load) = self.deploys.set().scaled_by_load().map(|current| self.workers.load(current))
            {
                self.deploys.follow_load(&load, now);
            }
            let steps = plan(&self.deploys.set().desired(now), &self.workers.views(now));
            if steps.is_empty() {
                break;
            }
            steps.into_iter().for_each(|step| self.carry_out(step));
        }
        // A candidate whose release step has ended goes on at the next look, which comes with the step's next event.
        self.deploys.released(self.jobs.settle(self.deploys.set(), self.stopping));
        // A worker that was just let go may have had nothing in hand.
        let told = self.workers.read_pool(Instant::now());
        self.advance(told);
        self.view().show_gauges();
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Start(generation) => {
                if let Some(spec) = self.deploys.set().spec_of(generation) {
                    self.workers.start(generation, spec, self.deploys.set().deploy().is_some());
                }
            }
            Step::Promote(generation) => self.promote(generation),
            Step::Retire(worker, reason) => {
                let serving = self.deploys.set().current().map(|current| current.id);
                let input = self.workers.retire(worker, reason, serving);
                self.advance(input);
            }
        }
    }

    fn promote(&mut self, generation: GenerationId) {
        // A worker whose first process has exited is not ready, whatever answers in its place: the event of its end is
        // about to come.
        if self.workers.ready_of(generation).all(|worker| self.ctx.backend.lives(worker)) {
            self.deploys.promote(generation, |before| self.workers.ready_of(before).next().is_some());
        }
    }
}

const MAILBOX: usize = 64;
/// Lines that the data path may be ahead.
const LINES: usize = 1024;
/// The most rounds: one plan may call for another, as a promotion lets the old workers go.
const MOST_ROUNDS: usize = 8;
const QUIET: Duration = Duration::from_millis(10);
