//! What a person reads when the server starts: where it listens, what it runs and how, where to steer it.
//!
//! Never here: finding any of it out.

use std::fmt::Write as _;
use std::net::{IpAddr, TcpListener};

use crate::api::{AppStatus, BackendStatus};
use crate::spec::ServerSpec;

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

/// The lines printed once the first app has been tried.
pub(super) fn text(
    spec: &ServerSpec,
    urls: &[String],
    redirects: &[String],
    apps: &[AppStatus],
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
        line(&mut out, "app", &format!("{} from {}", app.app, app.path.display()));
        line(&mut out, "", &app.described);
        line(&mut out, "workers", &format!("{} of {} ready", app.workers.ready, app.workers.wanted));
        if !matches!(app.recycle.as_str(), "" | "never") {
            line(&mut out, "", &format!("each is replaced {}", app.recycle));
        }
        let hosts: Vec<_> = app.hosts.iter().map(|host| host.as_str()).collect();
        line(&mut out, "hosts", &hosts.join(" "));
    }
    line(&mut out, "backend", &backend.to_string());
    line(&mut out, "control", &spec.control_socket.display().to_string());
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "  {name:<12}{value}");
}
