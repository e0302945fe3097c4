//! Owns the jobs of one app: which run, and what follows from the clock, from a deploy, and from their ends.
//!
//! Never here: starting a process, which goes the way of the web workers; deciding which generation serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::api::JobStatus;
use crate::backend::{Order, Signal, SurvivingWorker, WorkerExit};
use crate::name::{AppName, GenerationId, WorkerId};
use crate::spec::{AppSpec, JobName, LaunchSpec, span};
use crate::supervisor::app_context::AppContext;

use super::job_record::{JobRecord, JobState};
use super::job_report::JobReport;
use super::process_plan::{ProcessStep, ProcessView, WantedProcess, plan};
use super::restarts::Restarts;
use super::timer::{Timer, TimerStep};

/// The jobs of an app.
pub(in crate::supervisor) struct AppJobs {
    app: AppName,
    ctx: AppContext,
    records: BTreeMap<WorkerId, JobRecord>,
    /// The last generation whose release step was started.
    released: Option<GenerationId>,
    /// The generation that the processes and timers are of.
    serving: Option<GenerationId>,
    restarts: BTreeMap<String, Restarts>,
    timers: BTreeMap<String, Timer>,
}

/// A generation, and what it is made of.
pub(in crate::supervisor) type OfGeneration<'a> = (GenerationId, &'a Arc<AppSpec>);

/// A step that an app's jobs need.
pub(in crate::supervisor) enum JobStep {
    Start(Order),
    /// Ask when a calendar expression comes next, for the timer of that name.
    Ask(String, String),
    /// The release step of a generation has ended, and why that is no success.
    Released(GenerationId, Result<(), String>),
}

/// Why a timer cannot be started now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum TimerRefusal {
    /// There is no such timer; there are these.
    Unknown(Vec<String>),
    /// The timer's command runs.
    Runs(WorkerId),
    NotServing,
}

impl AppJobs {
    pub(in crate::supervisor) fn new(app: AppName, ctx: AppContext) -> Self {
        Self {
            app,
            ctx,
            records: BTreeMap::new(),
            released: None,
            serving: None,
            restarts: BTreeMap::new(),
            timers: BTreeMap::new(),
        }
    }

    /// Whether no job is left.
    pub(in crate::supervisor) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The generation of a job that runs.
    pub(in crate::supervisor) fn generation_of(&self, worker: WorkerId) -> Option<GenerationId> {
        self.records.get(&worker).map(|record| record.generation)
    }

    /// Takes over the jobs that an earlier server has left. Those that would be started in the same way now go on, all
    /// others are told to end.
    pub(in crate::supervisor) fn adopt(&mut self, left: Vec<SurvivingWorker>, spec: &AppSpec, now: Instant) {
        for SurvivingWorker { worker, generation, started, fingerprint, since, job, .. } in left {
            let Some(job) = job else { continue };
            let launch = launch_of(spec, &job);
            let alike =
                launch.as_ref().is_some_and(|launch| self.ctx.backend.fingerprint(launch) == fingerprint);
            tracing::info!(app = %self.app, %worker, %generation, %job, pid = started.pid, alike, "job of an earlier server is found");
            let age = SystemTime::now().duration_since(since).unwrap_or_default();
            let record = JobRecord {
                job: job.clone(),
                generation,
                since: now.checked_sub(age).unwrap_or(now),
                pid: Some(started.pid),
                kill_after: launch.map_or(spec.launch.kill_after, |launch| launch.kill_after),
                state: JobState::Running,
            };
            self.records.insert(worker, record);
            // Nobody waits for the release step of an earlier server any more.
            if !alike || job == JobName::Release {
                self.end(worker, now);
            }
        }
    }

    /// The steps to take now: `releasing` is a candidate whose release step has to run, `serving` the generation that
    /// serves.
    pub(in crate::supervisor) fn steps(
        &mut self,
        releasing: Option<OfGeneration<'_>>,
        serving: Option<OfGeneration<'_>>,
        now: Instant,
    ) -> Vec<JobStep> {
        let mut steps = Vec::new();
        let nothing = serving.is_none_or(|(_, spec)| spec.jobs.is_empty());
        if self.records.is_empty() && releasing.is_none() && nothing {
            self.timers.clear();
            return steps;
        }
        self.kill_late(now);
        self.release(releasing, now, &mut steps);
        if let Some((generation, spec)) = serving {
            if self.serving.replace(generation) != Some(generation) {
                self.renew(spec, now);
            }
            self.processes(generation, spec, now, &mut steps);
            self.run_timers(generation, spec, now, &mut steps);
        }
        steps
    }

    /// Begins to count anew for another generation; timers that are the same go on.
    fn renew(&mut self, spec: &AppSpec, now: Instant) {
        self.restarts.clear();
        let before = std::mem::take(&mut self.timers);
        for (name, timed) in &spec.jobs.timers.0 {
            let known = before.get(name).filter(|timer| *timer.times() == timed.times).cloned();
            self.timers.insert(name.clone(), known.unwrap_or_else(|| Timer::new(timed.times.clone(), now)));
        }
    }

    fn release(&mut self, releasing: Option<OfGeneration<'_>>, now: Instant, steps: &mut Vec<JobStep>) {
        let wanted = releasing.map(|(generation, _)| generation);
        let there = self.records.iter().filter(|(_, record)| record.job == JobName::Release);
        let there: Vec<_> = there.map(|(worker, record)| (*worker, record.clone())).collect();
        let limit = releasing.map(|(_, spec)| spec.jobs.release_timeout).unwrap_or_default();
        for (worker, record) in there.iter().filter(|(_, record)| !record.is_ending()) {
            if Some(record.generation) != wanted {
                self.end(*worker, now);
            } else if now >= record.since + limit {
                self.end(*worker, now);
                let why = format!("was not over within {}, which `release_timeout` allows", span(limit));
                steps.push(JobStep::Released(record.generation, Err(why)));
            }
        }
        let Some((generation, spec)) = releasing else { return };
        // A step that was given up has to be gone before the next begins.
        if there.is_empty() && self.released.replace(generation) != Some(generation) {
            steps.extend(self.start(JobName::Release, generation, spec, now).map(JobStep::Start));
        }
    }

    fn processes(
        &mut self,
        generation: GenerationId,
        spec: &Arc<AppSpec>,
        now: Instant,
        steps: &mut Vec<JobStep>,
    ) {
        let wanted: Vec<_> = spec
            .jobs
            .side_processes
            .0
            .iter()
            .map(|(name, process)| WantedProcess {
                name,
                count: process.count,
                may_start: self.restarts.get(name).is_none_or(|restarts| restarts.may_start(now)),
            })
            .collect();
        let there: Vec<_> =
            self.records.iter().filter_map(|(worker, record)| view(*worker, record)).collect();
        for step in plan(generation, &wanted, &there) {
            match step {
                ProcessStep::Start(name) => {
                    let started = self.start(JobName::Process(name), generation, spec, now);
                    steps.extend(started.map(JobStep::Start));
                }
                ProcessStep::End(worker) => self.end(worker, now),
            }
        }
    }

    fn run_timers(
        &mut self,
        generation: GenerationId,
        spec: &Arc<AppSpec>,
        now: Instant,
        steps: &mut Vec<JobStep>,
    ) {
        let mut due = Vec::new();
        for (name, timer) in &mut self.timers {
            let job = JobName::Timer(name.clone());
            let runs = self.records.iter().find(|(_, record)| record.job == job).map(|(worker, _)| *worker);
            match timer.step(now, SystemTime::now(), runs.is_some()) {
                TimerStep::Nothing => {}
                TimerStep::Run => due.push(job),
                TimerStep::Skip => {
                    let worker = runs.map(|worker| worker.0);
                    tracing::warn!(app = %self.app, %job, worker, skipped = timer.skipped, "{job} is due, but its last run is not over: this one is skipped");
                }
                TimerStep::Ask(expression) => steps.push(JobStep::Ask(name.clone(), expression)),
            }
        }
        for job in due {
            steps.extend(self.start(job, generation, spec, now).map(JobStep::Start));
        }
    }

    /// Takes in when a timer's calendar expression comes next.
    pub(in crate::supervisor) fn learn(
        &mut self,
        timer: &str,
        next: Result<Option<SystemTime>, String>,
        now: Instant,
    ) {
        if let Err(why) = &next {
            tracing::warn!(app = %self.app, timer, why, "cannot find out when timer.{timer} is due: {why}");
        }
        if let Some(timer) = self.timers.get_mut(timer) {
            timer.learn(next.map_err(drop), now);
        }
    }

    /// Starts a timer's command now, whenever it is due.
    ///
    /// # Errors
    /// See [`TimerRefusal`].
    pub(in crate::supervisor) fn run_timer(
        &mut self,
        name: &str,
        serving: Option<OfGeneration<'_>>,
        now: Instant,
    ) -> Result<Order, TimerRefusal> {
        let (generation, spec) = serving.ok_or(TimerRefusal::NotServing)?;
        let job = JobName::Timer(name.to_owned());
        if let Some((worker, _)) = self.records.iter().find(|(_, record)| record.job == job) {
            return Err(TimerRefusal::Runs(*worker));
        }
        let known = || TimerRefusal::Unknown(spec.jobs.timers.0.keys().cloned().collect());
        self.start(job, generation, spec, now).ok_or_else(known)
    }

    fn start(
        &mut self,
        job: JobName,
        generation: GenerationId,
        spec: &AppSpec,
        now: Instant,
    ) -> Option<Order> {
        let launch = launch_of(spec, &job)?;
        let worker = self.ctx.next_worker();
        tracing::info!(app = %self.app, %worker, %generation, %job, "{job} is started as worker {worker}");
        let kill_after = launch.kill_after;
        let record =
            JobRecord { job, generation, since: now, pid: None, kill_after, state: JobState::Running };
        self.records.insert(worker, record);
        Some(Order { worker, generation, launch: Arc::new(launch) })
    }

    /// Tells a job to end, and has it killed if it does not.
    fn end(&mut self, worker: WorkerId, now: Instant) {
        if let Some(record) = self.records.get_mut(&worker).filter(|record| !record.is_ending()) {
            record.state = JobState::Ending(now + record.kill_after);
            self.ctx.backend.signal(worker, Signal::Terminate);
        }
    }

    fn kill_late(&mut self, now: Instant) {
        for (worker, record) in &mut self.records {
            if record.wake_at().is_some_and(|at| now >= at) {
                record.state = JobState::Killed;
                tracing::warn!(app = %self.app, %worker, job = %record.job, "{} did not end in time: it is killed", record.job);
                self.ctx.backend.signal(*worker, Signal::Kill);
            }
        }
    }

    /// Tells all jobs to end; each has its own time for that, but not more than `limit`.
    pub(in crate::supervisor) fn stop(&mut self, limit: Option<Duration>, now: Instant) {
        self.timers.clear();
        self.restarts.clear();
        let all: Vec<_> = self.records.keys().copied().collect();
        for worker in all {
            self.end(worker, now);
            if let Some(record) = self.records.get_mut(&worker)
                && let (JobState::Ending(at), Some(limit)) = (record.state, limit)
            {
                record.state = JobState::Ending(at.min(now + limit.max(SHORTEST)));
            }
        }
    }

    /// Forgets all jobs and leaves them as they are.
    pub(in crate::supervisor) fn leave(&mut self) {
        self.records.clear();
    }

    /// Takes in that a job has a process.
    pub(in crate::supervisor) fn started(&mut self, worker: WorkerId, pid: u32) {
        let Some(record) = self.records.get_mut(&worker) else { return };
        record.pid = Some(pid);
        // The job may have been told to end while it was being started.
        match record.state {
            JobState::Running => {}
            JobState::Ending(_) => self.ctx.backend.signal(worker, Signal::Terminate),
            JobState::Killed => self.ctx.backend.signal(worker, Signal::Kill),
        }
    }

    /// Takes in that a job is gone; returns what that means for a release step.
    pub(in crate::supervisor) fn exited(
        &mut self,
        worker: WorkerId,
        exit: WorkerExit,
        now: Instant,
    ) -> Option<JobStep> {
        self.ctx.router.forget(worker);
        // A command that ends well has not failed for what it leaves behind, which was ended.
        let well = matches!(exit, WorkerExit::Status(0) | WorkerExit::Background);
        let exit = if well { "exited with status 0".into() } else { exit.to_string() };
        self.over(worker, if well { Ok(exit) } else { Err(exit) }, now)
    }

    /// Takes in that a job could not be started.
    pub(in crate::supervisor) fn not_started(
        &mut self,
        worker: WorkerId,
        why: &str,
        now: Instant,
    ) -> Option<JobStep> {
        self.ctx.router.forget(worker);
        self.over(worker, Err(format!("could not be started: {why}")), now)
    }

    fn over(&mut self, worker: WorkerId, how: Result<String, String>, now: Instant) -> Option<JobStep> {
        let JobRecord { job, generation, since, state, .. } = self.records.remove(&worker)?;
        let (ran, asked) = (now.saturating_duration_since(since), state != JobState::Running);
        let seconds = ran.as_secs_f64();
        let (Ok(text) | Err(text)) = &how;
        let (app, text) = (&self.app, text.clone());
        match (&job, &how) {
            (JobName::Process(name), _) if !asked && Some(generation) == self.serving => {
                let restarts = self.restarts.entry(name.clone()).or_default();
                let pause = span(restarts.ended(ran, text.clone(), now));
                let times = restarts.failures();
                if restarts.is_news() {
                    tracing::error!(%app, %worker, %generation, %job, "{job} does not stay: it {text}, the {times}rd time in a row; it is started again and again, and requests are served all the same");
                } else {
                    tracing::warn!(%app, %worker, %generation, %job, "{job} {text} after {seconds:.1} s; it is started again in {pause}");
                }
            }
            (_, Err(_)) if !asked => {
                tracing::warn!(%app, %worker, %generation, %job, "{job} {text} after {seconds:.1} s");
            }
            _ => tracing::info!(%app, %worker, %generation, %job, "{job} {text} after {seconds:.1} s"),
        }
        if let JobName::Timer(name) = &job
            && let Some(timer) = self.timers.get_mut(name)
        {
            timer.last = Some((text, now));
        }
        let is_release = job == JobName::Release && !asked;
        is_release.then(|| JobStep::Released(generation, how.map(drop)))
    }

    /// When something is due by the clock, while `releasing` is being released.
    pub(in crate::supervisor) fn wake_at(
        &self,
        releasing: Option<OfGeneration<'_>>,
        now: Instant,
    ) -> Option<Instant> {
        let ends = self.records.values().filter_map(JobRecord::wake_at);
        let limit = releasing.map(|(_, spec)| spec.jobs.release_timeout);
        let release =
            self.records.values().filter(|record| record.job == JobName::Release && !record.is_ending());
        let release = release.filter_map(|record| Some(record.since + limit?));
        let restarts = self.restarts.values().filter_map(|restarts| restarts.waits_until(now));
        let timers = self.timers.values().filter_map(|timer| timer.wake_at(now, SystemTime::now()));
        ends.chain(release).chain(restarts).chain(timers).min()
    }

    /// The report for people on the jobs of the generation that serves.
    pub(in crate::supervisor) fn status(&self, serving: Option<&AppSpec>, now: Instant) -> Vec<JobStatus> {
        let report =
            JobReport { records: &self.records, restarts: &self.restarts, timers: &self.timers, now };
        report.of(serving)
    }
}

fn view(worker: WorkerId, record: &JobRecord) -> Option<ProcessView<'_>> {
    let JobName::Process(name) = &record.job else { return None };
    Some(ProcessView { worker, name, generation: record.generation, ending: record.is_ending() })
}

/// How a job of an app is started; `None`: the app has no such job.
fn launch_of(spec: &AppSpec, job: &JobName) -> Option<LaunchSpec> {
    let command = spec.jobs.command(job)?.clone();
    let timeouts = spec.rules.timeouts;
    Some(spec.launch.of_job(job.clone(), command, timeouts.drain.max(timeouts.kill)))
}

/// The least time from SIGTERM to SIGKILL when the app is being stopped.
const SHORTEST: Duration = Duration::from_secs(1);
