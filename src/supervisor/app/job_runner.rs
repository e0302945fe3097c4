//! Owns carrying out what the jobs of an app call for: starting them, asking a calendar, and telling what has become of
//! a release step.
//!
//! Never here: deciding it (`jobs`).

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::generations::generation_set::{GenerationSet, ReleaseEnd};
use super::messages::TaskReport;
use super::worker_starter::WorkerStarter;
use crate::backend::{StartError, Started, SurvivingWorker, WorkerEvent, WorkerExit};
use crate::name::{AppName, WorkerId};
use crate::spec::AppSpec;
use crate::supervisor::jobs::app_jobs::{AppJobs, JobStep, OfGeneration, TimerRefusal};
use crate::system::calendar;

/// The jobs of an app, and how they are started.
pub(super) struct JobRunner {
    jobs: AppJobs,
    starter: WorkerStarter,
}

impl JobRunner {
    pub(super) fn new(app: AppName, starter: WorkerStarter) -> Self {
        Self { jobs: AppJobs::new(app, starter.ctx.clone()), starter }
    }

    pub(super) fn jobs(&self) -> &AppJobs {
        &self.jobs
    }

    /// Takes over the jobs that an earlier server has left; returns their events since they were found.
    pub(super) fn adopt(&mut self, left: Vec<SurvivingWorker>, spec: &AppSpec) -> Vec<WorkerEvent> {
        let found: Vec<_> = left.iter().map(|job| job.worker).collect();
        self.jobs.adopt(left, spec, Instant::now());
        found.into_iter().flat_map(|worker| self.starter.enrol(worker)).collect()
    }

    /// Looks at everything that may have changed, and does what follows.
    pub(super) fn settle(&mut self, generations: &GenerationSet, stopping: bool) -> Vec<ReleaseEnd> {
        let serving = generations.serving().filter(|_| !stopping);
        let steps = self.jobs.steps(generations.releasing(), serving, Instant::now());
        steps.into_iter().filter_map(|step| self.carry_out(step)).collect()
    }

    /// Takes in that a job is gone.
    pub(super) fn exited(&mut self, job: WorkerId, exit: WorkerExit) -> Option<ReleaseEnd> {
        let step = self.jobs.exited(job, exit, Instant::now())?;
        self.carry_out(step)
    }

    /// Takes in that a job has a process, or could not be started.
    pub(super) fn started(
        &mut self,
        job: WorkerId,
        started: Result<Started, StartError>,
    ) -> Option<ReleaseEnd> {
        match started {
            Ok(Started { pid, .. }) => {
                self.jobs.started(job, pid);
                None
            }
            Err(error) => {
                let step = self.jobs.not_started(job, &error.to_string(), Instant::now())?;
                self.carry_out(step)
            }
        }
    }

    /// Takes in when the calendar expression of a timer comes next.
    pub(super) fn learn(&mut self, timer: &str, next: Result<Option<SystemTime>, String>) {
        self.jobs.learn(timer, next, Instant::now());
    }

    /// Starts the command of a timer now.
    pub(super) fn run_timer(
        &mut self,
        name: &str,
        serving: Option<OfGeneration<'_>>,
    ) -> Result<WorkerId, TimerRefusal> {
        let order = self.jobs.run_timer(name, serving, Instant::now())?;
        let worker = order.worker;
        self.starter.start(order);
        Ok(worker)
    }

    /// Tells all jobs to end within `limit`, or each within its own time.
    pub(super) fn stop(&mut self, limit: Option<Duration>) {
        self.jobs.stop(limit, Instant::now());
    }

    /// Leaves all jobs as they are.
    pub(super) fn leave(&mut self) {
        self.jobs.leave();
    }

    fn carry_out(&self, step: JobStep) -> Option<ReleaseEnd> {
        match step {
            JobStep::Start(order) => self.starter.start(order),
            JobStep::Ask(timer, expression) => self.ask_calendar(timer, expression),
            JobStep::Released(generation, how) => return Some((generation, how)),
        }
        None
    }

    /// Asks when a calendar expression comes next; [`TaskReport::Elapses`] follows.
    fn ask_calendar(&self, timer: String, expression: String) {
        let WorkerStarter { ctx, reports, .. } = self.starter.clone();
        let stop = ctx.stop.clone();
        stop.spawn("calendar", async move {
            let next = ctx.on_disk(move || calendar::next(&expression, SystemTime::now())).await;
            let next = next.ok_or_else(|| "systemd-analyze takes too long".to_owned());
            let next = next.and_then(|next| next.map_err(|error| error.to_string()));
            // An app that has ended needs it no more.
            reports.send(TaskReport::Elapses(timer, next)).await.ok();
        });
    }
}
