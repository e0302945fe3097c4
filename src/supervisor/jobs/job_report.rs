//! Owns what people see of an app's jobs: how many run, and in a sentence what each does and how it ended last.
//!
//! Never here: changing anything.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::api::JobStatus;
use crate::name::WorkerId;
use crate::spec::jobs::shown;
use crate::spec::{AppSpec, JobName, span};

use super::job_record::JobRecord;
use super::restarts::Restarts;
use super::timer::{NextRun, Timer};

/// The jobs of an app as they are now.
pub(super) struct JobReport<'a> {
    pub(super) records: &'a BTreeMap<WorkerId, JobRecord>,
    pub(super) restarts: &'a BTreeMap<String, Restarts>,
    pub(super) timers: &'a BTreeMap<String, Timer>,
    pub(super) now: Instant,
}

impl JobReport<'_> {
    /// The jobs that the serving generation has, and those that run.
    pub(super) fn of(&self, serving: Option<&AppSpec>) -> Vec<JobStatus> {
        let jobs = serving.map(|spec| &spec.jobs);
        let mut all: BTreeMap<JobName, (usize, String)> = BTreeMap::new();
        for record in self.records.values() {
            all.insert(record.job.clone(), (0, String::new()));
        }
        for (name, process) in jobs.iter().flat_map(|jobs| &jobs.side_processes.0) {
            all.insert(JobName::Process(name.clone()), (process.count, shown(&process.command)));
        }
        for (name, timed) in jobs.iter().flat_map(|jobs| &jobs.timers.0) {
            let text = format!("{} {}", shown(&timed.command), timed.times);
            all.insert(JobName::Timer(name.clone()), (0, text));
        }
        all.into_iter().map(|(job, (wanted, command))| self.show(job, wanted, command)).collect()
    }

    fn show(&self, job: JobName, wanted: usize, command: String) -> JobStatus {
        let of_job = || self.records.iter().filter(|(_, record)| record.job == job);
        let running = of_job().filter(|(_, record)| !record.is_ending()).count();
        let mut doing: Vec<String> = of_job()
            .map(|(worker, record)| {
                let pid = record.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
                let state = if record.is_ending() { "is ending" } else { "runs" };
                let age = (self.now.saturating_duration_since(record.since)).as_secs();
                format!("worker {worker}{pid} {state}, {age} s old")
            })
            .collect();
        match &job {
            JobName::Process(name) => {
                doing.extend(self.restarts.get(name).and_then(|restarts| self.failing(restarts)))
            }
            JobName::Timer(name) => doing.extend(self.timers.get(name).map(|timer| self.timer(timer))),
            JobName::Release => {}
        }
        let workers = of_job().map(|(worker, _)| *worker).collect();
        JobStatus { job: job.to_string(), command, wanted, running, workers, doing: doing.join("; ") }
    }

    /// A sentence that says that a process does not stay; `None`: the last one has run for long.
    fn failing(&self, restarts: &Restarts) -> Option<String> {
        let last = restarts.last.as_ref()?;
        let times = match restarts.failures() {
            1 => String::new(),
            times => format!(", {times} times in a row"),
        };
        let next = restarts
            .waits_until(self.now)
            .map(|at| format!("; it is started again in {:.0} s", (at - self.now).as_secs_f64().ceil()));
        Some(format!("the last one {last}{times}{}", next.unwrap_or_default()))
    }

    fn timer(&self, timer: &Timer) -> String {
        let mut text = match timer.next() {
            NextRun::After(at) => {
                format!("next in {}", rounded(at.saturating_duration_since(self.now).as_secs()))
            }
            NextRun::At(at) => {
                let left = at.duration_since(SystemTime::now()).unwrap_or_default();
                format!("next in {}", rounded(left.as_secs()))
            }
            NextRun::Unknown(_) | NextRun::Asked => "its next time is being looked up".into(),
            NextRun::Never => "it has no further time".into(),
        };
        if let Some((how, at)) = &timer.last {
            let ago = rounded(self.now.saturating_duration_since(*at).as_secs());
            text += &format!(", the last run {how} {ago} ago");
        }
        if timer.skipped > 0 {
            text += &format!(", {} skipped", timer.skipped);
        }
        text
    }
}

/// Seconds without what nobody reads of a long time.
fn rounded(seconds: u64) -> String {
    let whole = if seconds > 7200 {
        seconds / 3600 * 3600
    } else if seconds > 120 {
        seconds / 60 * 60
    } else {
        seconds
    };
    span(std::time::Duration::from_secs(whole))
}
