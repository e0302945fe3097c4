//! Owns the tables of hosts and workers, and the lines of deploys and logs.
//!
//! Never here: the page of `status`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::{
    Aborted, Changed, DeployEvent, HostEntry, HostOrigin, HostState, LogLine, RequestInHand, Scaled,
    WorkerState, WorkerStatus,
};
use crate::logging::{Colours, safe};
use crate::name::RouteName;

use super::status::rejected;
use super::{Tone, count, duration, good, plain, size, table};

/// The hosts, a line each.
pub(in crate::ctl) fn hosts(entries: &[HostEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let (tone, state) = match (entry.state, entry.live) {
            (HostState::Running, true) => (Tone::Plain, "running"),
            (HostState::Running, false) => (Tone::Bad, "running, no worker ready"),
            (HostState::Paused, _) => (Tone::Warning, "paused"),
            (HostState::Stopped, _) => (Tone::Warning, "stopped"),
        };
        let origin = match entry.origin {
            HostOrigin::Config => "config",
            HostOrigin::Added => "added",
        };
        let origin = if entry.acme { origin.into() } else { format!("{origin}, no ACME") };
        (tone, vec![entry.host.to_string(), entry.app.to_string(), origin, state.into()])
    });
    table(&["HOST", "APP", "FROM", "STATE"], &[], rows)
}

/// The workers, a line each.
pub(in crate::ctl) fn workers(workers: &[WorkerStatus]) -> String {
    let header =
        ["WORKER", "APP", "GENERATION", "PROCESS", "STATE", "AGE", "SERVED", "TUNNELS", "MEMORY", "NOW"];
    let rows = workers.iter().map(|worker| {
        let (tone, state) = match worker.state {
            WorkerState::Starting => (Tone::Warning, "starting"),
            WorkerState::Idle => (Tone::Plain, "idle"),
            WorkerState::Busy => (Tone::Plain, "busy"),
            WorkerState::Draining => (Tone::Quiet, "draining"),
            WorkerState::Stopping => (Tone::Quiet, "stopping"),
        };
        let cells = vec![
            worker.worker.to_string(),
            worker.app.to_string(),
            worker.generation.to_string(),
            worker.pid.map_or_else(|| "-".into(), |pid| pid.to_string()),
            state.into(),
            duration(worker.age),
            count(worker.served),
            count(worker.tunnels as u64),
            worker.memory.map_or_else(|| "-".into(), size),
            now(worker),
        ];
        (tone, cells)
    });
    table(&header, &[0, 2, 3, 6, 7, 8], rows)
}

/// The reason, and a request in hand; of several the oldest, which is the one to ask about.
fn now(worker: &WorkerStatus) -> String {
    let mut parts: Vec<String> = worker.why.iter().cloned().collect();
    if let Some(oldest) = worker.requests.iter().max_by_key(|request| request.ms) {
        let RequestInHand { id, method, path, ms } = oldest;
        let more = match worker.requests.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        parts.push(format!("{method} {path} for {ms} ms (request {id}){more}"));
    }
    parts.join("; ")
}

pub(in crate::ctl) fn deploy_event(event: &DeployEvent) -> String {
    match event {
        DeployEvent::Starting { app, generation, workers, note } => {
            let s = if *workers == 1 { "" } else { "s" };
            let note = note.as_deref().map(|note| format!("{app}: {}\n", plain(note))).unwrap_or_default();
            format!("{note}{app}: starting {workers} worker{s} of generation {generation}")
        }
        DeployEvent::Ready { app, ready, workers, .. } => format!("{app}: {ready} of {workers} ready"),
        DeployEvent::Serving { app, generation, ms, probation } => format!(
            "{app}: generation {generation} takes over, after {}.{:03} s; on probation for {} s",
            ms / 1000,
            ms % 1000,
            *probation as f64 / 1000.0
        ),
        DeployEvent::Done { app, generation, ms } => good(format_args!(
            "{app}: generation {generation} serves, after {}.{:03} s",
            ms / 1000,
            ms % 1000
        )),
        DeployEvent::Held { app, generation, ms, share, workers } => {
            let s = if *workers == 1 { "" } else { "s" };
            let serves = good(format_args!(
                "{app}: generation {generation} serves {} of the clients with {workers} worker{s}, after {}.{:03} s",
                plain(share),
                ms / 1000,
                ms % 1000
            ));
            format!(
                "{serves}\n{app}: `rip-serverctl promote {app}` gives it to all, `rip-serverctl abort {app}` to none"
            )
        }
        DeployEvent::Rejected { app, rejection } => {
            format!("{}{app}: the generation before goes on serving", rejected(app.as_str(), rejection))
        }
        DeployEvent::Superseded { app, generation } => {
            format!("{app}: generation {generation} was given up for a later deploy, which goes on")
        }
    }
}

/// The result of a change of a host.
pub(in crate::ctl) fn changed(host: &RouteName, done: &str, change: &Changed) -> String {
    let app = change.entry.as_ref().map(|entry| format!(" (app {})", entry.app)).unwrap_or_default();
    let before = if change.changed { "" } else { ", as before" };
    format!("{host}: {done}{before}{app}")
}

/// The end of a generation that was held.
pub(in crate::ctl) fn aborted(aborted: &Aborted) -> String {
    let Aborted { app, generation, serving, .. } = aborted;
    format!("{app}: generation {generation} is given up, generation {serving} serves all clients")
}

/// The result of a change of the number of workers.
pub(in crate::ctl) fn scaled(scaled: &Scaled) -> String {
    let Scaled { app, before, now, .. } = scaled;
    if before == now {
        format!("{app}: {now} workers, as before")
    } else {
        format!("{app}: {now} workers, were {before}")
    }
}

/// The line that a worker wrote, with its time.
pub(in crate::ctl) fn log_line(line: &LogLine, zone: &TimeZone) -> String {
    let time = i64::try_from(line.t).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = time.map_or_else(
        || line.t.to_string(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    );
    format!("{time} {}/{} {}\n", line.app, line.worker, safe(&line.line, Colours::On))
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use crate::api::Rejection;
    use crate::name::{AppName, GenerationId, WorkerId};

    use super::*;

    fn api() -> AppName {
        AppName::parse("api").unwrap()
    }

    #[test]
    fn hosts_are_listed_with_what_happens_to_their_requests() {
        let entry = |host, state, live, origin| HostEntry {
            host: RouteName::parse(host).unwrap(),
            app: api(),
            state,
            live,
            origin,
            acme: true,
        };
        let entries = [
            entry("api.example", HostState::Running, true, HostOrigin::Config),
            entry("*.api.example", HostState::Running, false, HostOrigin::Added),
            entry("b.example", HostState::Paused, true, HostOrigin::Added),
            entry("c.example", HostState::Stopped, false, HostOrigin::Added),
        ];
        let expected = "\
HOST           APP  FROM    STATE
api.example    api  config  running
*.api.example  api  added   running, no worker ready
b.example      api  added   paused
c.example      api  added   stopped
";
        assert_eq!(strip_str(&hosts(&entries)).to_string(), expected);
    }

    #[test]
    fn workers_are_listed_with_what_they_have_in_hand() {
        let request =
            |id: &str, ms| RequestInHand { id: id.into(), method: "GET".into(), path: "/slow".into(), ms };
        let worker = |id, state| WorkerStatus {
            app: api(),
            worker: WorkerId(id),
            generation: GenerationId(2),
            pid: Some(4_000 + id as u32),
            state,
            why: None,
            age: 65,
            served: 1_500,
            tunnels: 0,
            memory: Some(50_541_363),
            requests: vec![],
        };
        let list = [
            worker(1, WorkerState::Idle),
            WorkerStatus {
                requests: vec![request("aaaaaaaa", 12), request("bbbbbbbb", 4_100)],
                ..worker(2, WorkerState::Busy)
            },
            WorkerStatus {
                why: Some("recycled after 10,000 requests".into()),
                requests: vec![request("cccccccc", 5)],
                ..worker(3, WorkerState::Draining)
            },
            WorkerStatus { pid: None, memory: None, age: 0, served: 0, ..worker(12, WorkerState::Starting) },
        ];
        let expected = "\
WORKER  APP  GENERATION  PROCESS  STATE     AGE        SERVED  TUNNELS    MEMORY  NOW
     1  api           2     4001  idle      1 min 5 s   1,500        0  48.2 MiB
     2  api           2     4002  busy      1 min 5 s   1,500        0  48.2 MiB  GET /slow for 4100 ms (request bbbbbbbb), and 1 more
     3  api           2     4003  draining  1 min 5 s   1,500        0  48.2 MiB  recycled after 10,000 requests; GET /slow for 5 ms (request cccccccc)
    12  api           2        -  starting  0 s             0        0         -
";
        assert_eq!(strip_str(&workers(&list)).to_string(), expected);
    }

    #[test]
    fn a_deploys_lines_tell_its_story() {
        let generation = GenerationId(4);
        let rejection = Rejection {
            generation,
            reason: "not ready within 60 s".into(),
            output: vec!["listening on 80".into()],
        };
        for (event, text) in [
            (
                DeployEvent::Starting { app: api(), generation, workers: 2, note: None },
                "api: starting 2 workers of generation 4",
            ),
            (DeployEvent::Ready { app: api(), generation, ready: 1, workers: 2 }, "api: 1 of 2 ready"),
            (
                DeployEvent::Serving { app: api(), generation, ms: 1_204, probation: 5_000 },
                "api: generation 4 takes over, after 1.204 s; on probation for 5 s",
            ),
            (
                DeployEvent::Done { app: api(), generation, ms: 1_204 },
                "api: generation 4 serves, after 1.204 s",
            ),
            (
                DeployEvent::Rejected { app: api(), rejection },
                "api: generation 4 was rejected: not ready within 60 s\n  | listening on 80\n\
                 api: the generation before goes on serving",
            ),
            (
                DeployEvent::Superseded { app: api(), generation },
                "api: generation 4 was given up for a later deploy, which goes on",
            ),
        ] {
            assert_eq!(strip_str(&deploy_event(&event)).to_string(), text);
        }
    }

    #[test]
    fn a_log_line_has_its_time_and_its_worker() {
        let line = LogLine {
            t: 1_700_000_000_123,
            app: api(),
            worker: WorkerId(7),
            generation: GenerationId(1),
            line: "\x1b[32mGET\x1b[0m /".into(),
        };
        let shown = log_line(&line, &TimeZone::UTC);
        assert_eq!(strip_str(&shown).to_string(), "2023-11-14 22:13:20.123 api/7 GET /\n");
        assert!(shown.contains("\x1b[32mGET\x1b[0m"), "{shown:?}");
    }
}
