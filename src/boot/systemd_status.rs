//! Tells systemd, while the server runs, that it is alive, what it is doing, and that a start takes longer.
//!
//! Never here: the start and the end themselves.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use crate::api::AppStatus;
use crate::supervisor::Supervisor;
use crate::system::notify;
use crate::tasks::TaskGroup;
use crate::time::Heartbeats;

/// Starts the tasks that talk to systemd; they end with `stop`.
///
/// The watchdog is fed only while the accept loops, the control loop and the supervisor have each made progress: when
/// one of them hangs, systemd restarts the server. An app that is broken hangs nothing.
pub(super) fn tell(urls: &[String], supervisor: &Supervisor, heartbeats: &Heartbeats, stop: &TaskGroup) {
    if let Some(every) = notify::main_watchdog_interval() {
        let feeding = feed_watchdog(every, supervisor.clone(), heartbeats.clone());
        stop.spawn("watchdog", until(stop.clone(), feeding));
    }
    let telling = tell_status(urls.join(" "), supervisor.clone());
    stop.spawn("status", until(stop.clone(), telling));
}

/// Asks systemd for more time again and again; the future is to be dropped when the start is over. Each app has a limit
/// of its own, after which the server is ready without the app.
pub(super) async fn ask_for_time() -> Infallible {
    let mut often = interval(START_STEP);
    loop {
        often.tick().await;
        notify::extend_timeout(START_STEP * 3);
    }
}

/// Asks systemd once for more time, for an end that may take that long.
pub(super) fn ask_for_time_to_end(time: Duration) {
    notify::extend_timeout(time + LAST_STEPS);
}

async fn until(stop: TaskGroup, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.requested() => {}
        () = task => {}
    }
}

async fn feed_watchdog(every: Duration, supervisor: Supervisor, heartbeats: Heartbeats) {
    let mut due = interval(every);
    loop {
        due.tick().await;
        // The supervisor has half of the time that is left, so that one late answer does not cost the server its life.
        let supervisor_lives = timeout(every / 2, supervisor.apps()).await.is_ok();
        match heartbeats.standing_still(every) {
            None if supervisor_lives => notify::watchdog(),
            None => tracing::error!("the manager stands still: the watchdog is not fed"),
            Some(name) => tracing::error!("the {name} loop stands still: the watchdog is not fed"),
        }
    }
}

async fn tell_status(urls: String, supervisor: Supervisor) {
    let mut often = interval(STATUS_EVERY);
    let mut before = Tally::of(&[]);
    let mut said = String::new();
    loop {
        often.tick().await;
        let apps = supervisor.apps().await;
        let now = Tally::of(&apps);
        let text = line(&urls, &apps, now.rate_since(&before));
        before = now;
        if text != said {
            notify::status(&text);
            said = text;
        }
    }
}

/// The line that `systemctl status` shows.
pub(super) fn line(urls: &str, apps: &[AppStatus], rate: f64) -> String {
    let sum = |of: fn(&AppStatus) -> usize| apps.iter().map(of).sum::<usize>();
    let (ready, wanted) = (sum(|app| app.workers.ready), sum(|app| app.workers.wanted));
    let mut text = format!("serving {urls} with {ready} of {wanted} workers, {rate:.0} requests/s");
    let (queued, tunnels) = (sum(|app| app.queued), sum(|app| app.tunnels));
    if queued > 0 {
        text += &format!(", {queued} waiting");
    }
    if tunnels > 0 {
        text += &format!(", {tunnels} tunnels");
    }
    for app in apps.iter().filter(|app| app.doing != "serving").take(MOST_APPS) {
        text += &format!("; {}: {}", app.app, app.doing);
    }
    text
}

/// How many requests each app's workers have answered, and when that was.
struct Tally {
    served: u64,
    at: Instant,
}

impl Tally {
    fn of(apps: &[AppStatus]) -> Self {
        Self { served: apps.iter().map(|app| app.served).sum(), at: Instant::now() }
    }

    /// The requests per second since `before`. The answers of workers that have gone since are missing, so that the
    /// rate is never below 0.
    fn rate_since(&self, before: &Self) -> f64 {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(1.0);
        self.served.saturating_sub(before.served) as f64 / seconds
    }
}

const START_STEP: Duration = Duration::from_secs(10);
const LAST_STEPS: Duration = Duration::from_secs(15);
const STATUS_EVERY: Duration = Duration::from_secs(5);
const MOST_APPS: usize = 3;
