//! The text that a person reads when the server starts: where it listens, what it runs and how, and where its control
//! socket is.
//!
//! Never here: finding any of it out.

use std::fmt::Write as _;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use crate::api::{AppStatus, BackendStatus};
use crate::name::AppName;
use crate::spec::jobs::shown;
use crate::spec::{AppSpec, JobName, JobSettings, ServerSpec, Upkeep, span};

/// The URLs of listeners, for people: `localhost` stands for every address.
pub(super) fn urls(scheme: &str, usual_port: u16, listeners: &[TcpListener]) -> Vec<String> {
    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    let urls = addresses.map(|address| {
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        match address.port() {
            port if port == usual_port => format!("{scheme}://{host}/"),
            port => format!("{scheme}://{host}:{port}/"),
        }
    });
    urls.collect()
}

/// The lines that are printed when the ports are open, before any app runs.
pub(super) fn text(
    spec: &ServerSpec,
    urls: &[String],
    redirects: &[String],
    apps: &[AppSpec],
    cores: usize,
    backend: &BackendStatus,
) -> String {
    let mut out = format!("rip-server {} ({})\n", env!("CARGO_PKG_VERSION"), spec.instance);
    for url in urls {
        line(&mut out, "serving", url);
    }
    for url in redirects {
        line(&mut out, "redirecting", url);
    }
    for app in apps {
        line(&mut out, "app", &format!("{} from {}", app.name, app.path.display()));
        line(&mut out, "", &app.described);
        line(&mut out, "workers", &workers(&app.upkeep, cores));
        let replaced = app.recycle.to_string();
        if replaced != "never" {
            line(&mut out, "", &format!("each is replaced {replaced}"));
        }
        for (job, command) in jobs(&app.jobs) {
            line(&mut out, "beside", &format!("{job}: {command}"));
        }
        let hosts: Vec<_> = app.hosts.iter().map(ToString::to_string).collect();
        line(&mut out, "hosts", &hosts.join(" "));
    }
    line(&mut out, "backend", &backend.to_string());
    line(&mut out, "control", &spec.control_socket.display().to_string());
    out
}

/// The jobs beside the workers: each with its name in the settings, its command, its times.
fn jobs(jobs: &JobSettings) -> Vec<(JobName, String)> {
    let release = Some(&jobs.release).filter(|command| !command.is_empty());
    let release = release.map(|command| (JobName::Release, shown(command)));
    let processes = jobs.side_processes.0.iter().map(|(name, process)| {
        let times = if process.count == 1 { String::new() } else { format!(", {} times", process.count) };
        (JobName::Process(name.clone()), shown(&process.command) + &times)
    });
    let timers = jobs.timers.0.iter().map(|(name, timed)| {
        (JobName::Timer(name.clone()), format!("{} {}", shown(&timed.command), timed.times))
    });
    release.into_iter().chain(processes).chain(timers).collect()
}

/// How many workers an app has: "2", "2 to 8 by load", "1; none after 10 min without a request".
fn workers(upkeep: &Upkeep, cores: usize) -> String {
    let (least, most) = upkeep.workers.resolve(cores).into_inner();
    let number = if least == most { least.to_string() } else { format!("{least} to {most} by load") };
    match upkeep.idle {
        Some(idle) => format!("{number}; none after {} without a request", span(idle)),
        None => number,
    }
}

/// The line of an app that serves, or that was rejected.
pub(super) fn settled(
    app: &AppName,
    rejected: Option<&str>,
    apps: &[AppSpec],
    cores: usize,
    after: Duration,
) -> String {
    let after = after.as_secs_f64();
    match rejected {
        Some(reason) => {
            format!("failed {app}: {reason} (after {after:.1} s; `rip-serverctl status` says more)\n")
        }
        None => {
            let spec = apps.iter().find(|spec| spec.name == *app);
            let workers = spec.map_or(1, |spec| *spec.upkeep.workers.resolve(cores).start());
            let s = if workers == 1 { "" } else { "s" };
            format!("ready {app}: {workers} worker{s} after {after:.1} s\n")
        }
    }
}

/// The lines of apps that were added to an earlier server of the instance.
pub(super) fn added(apps: &[AppStatus], given: &[AppSpec]) -> String {
    let mut out = String::new();
    for app in apps.iter().filter(|app| given.iter().all(|given| given.name != app.app)) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "added {}: from {}, {}", app.app, app.path.display(), app.doing);
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<12}{value}");
}
