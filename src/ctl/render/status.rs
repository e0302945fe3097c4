//! Owns the page of `status`: what the server is doing right now, and why.
//!
//! Never here: the other tables.

use crate::api::{
    AcmeStatus, AppStatus, CanaryStatus, CertificateStatus, Health, JobStatus, Rejection, Status, WorkerTally,
};

use crate::logging::{Colours, safe};

use super::{Tone, bad, count, duration, good, painted, plain, table};

/// The instance, its apps, its certificates, and rejected deploys.
pub(in crate::ctl) fn status(status: &Status) -> String {
    let mut page = head(status);
    if !status.apps.is_empty() {
        page += "\n";
        page += &apps(&status.apps);
    }
    if !status.certificates.is_empty() {
        page += "\n";
        page += &certificates(&status.certificates);
    }
    for host in &status.acme {
        page += &acme(host);
    }
    for setting in &status.needs_restart {
        page += &format!("\n{}\n", bad(format_args!("needs a restart: {}", plain(setting))));
    }
    for app in &status.apps {
        if let Some(rejection) = &app.rejected {
            page += &format!("\n{}", rejected(app.app.as_str(), rejection));
        }
    }
    page
}

fn head(status: &Status) -> String {
    let health = match status.status {
        Health::Healthy => good("healthy"),
        Health::Degraded => bad("degraded"),
    };
    let urls: String = status.urls.iter().map(|url| format!("  {}\n", plain(url))).collect();
    let backend =
        status.backend.as_ref().map(|backend| format!("workers are {}", plain(&backend.to_string())));
    let backend = backend.map(|line| format!("  {}\n", painted(Tone::Quiet, &line))).unwrap_or_default();
    format!(
        "{}: {health}, {}\n{urls}  {}\n{backend}",
        status.instance,
        plain(&status.doing),
        painted(
            Tone::Quiet,
            &format!(
                "version {}, process {}, up {}, control {}",
                plain(&status.version),
                status.pid,
                duration(status.uptime),
                status.control.display()
            )
        )
    )
}

fn apps(apps: &[AppStatus]) -> String {
    let header = ["APP", "GENERATION", "WORKERS", "QUEUED", "IN HAND", "TUNNELS", "SERVED", "DOING"];
    let rows = apps.iter().map(|app| {
        let cells = vec![
            app.app.to_string(),
            app.generation.to_string(),
            tally(app.workers),
            count(app.queued as u64),
            count(app.in_flight as u64),
            count(app.tunnels as u64),
            count(app.served),
            app.doing.clone(),
        ];
        (tone(app), cells)
    });
    let mut text = table(&header, &[1, 3, 4, 5, 6], rows);
    for app in apps {
        let hosts: Vec<_> = app.hosts.iter().map(ToString::to_string).collect();
        let what = format!("{}: {} in {}", app.app, plain(&app.described), app.path.display());
        text += &format!(
            "  {what}, for {}\n",
            if hosts.is_empty() { "no host".into() } else { hosts.join(", ") }
        );
        if let Some(again) = app.again {
            let now = app.generation;
            text += &format!(
                "    generation {now} is generation {again} again, until the next deploy or start\n"
            );
        }
        if let Some(CanaryStatus { generation, share, ready, held }) = &app.canary {
            let (share, held) = (plain(share), duration(*held));
            text += &format!(
                "    generation {generation} has {share} of the clients, {ready} workers ready, for {held}\n"
            );
        }
        if let Some(scaling) = &app.scaling {
            text += &format!("    {}\n", plain(scaling));
        }
        for job in &app.jobs {
            text += &format!("    {}\n", plain(&self::job(job)));
        }
        for line in refused(app).into_iter().chain(app.warnings.iter().map(|warning| plain(warning))) {
            text += &format!("    {}\n", painted(Tone::Warning, &line));
        }
    }
    text
}

/// A job and what it does: `process.mailer: 1 of 2 running: …`.
fn job(job: &JobStatus) -> String {
    let running =
        if job.wanted > 0 { format!("{} of {} running", job.running, job.wanted) } else { String::new() };
    let parts = [job.command.clone(), running, job.doing.clone()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}: {}", job.job, parts.join("; "))
}

/// The counts of answers that the server gave in the app's place, the most frequent reason first.
fn refused(app: &AppStatus) -> Option<String> {
    let mut refused: Vec<_> = app.refused.iter().filter(|(_, times)| **times > 0).collect();
    refused.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let reasons: Vec<_> =
        refused.iter().map(|(reason, times)| format!("{} {}", count(**times), plain(reason))).collect();
    (!reasons.is_empty()).then(|| format!("refused since the start: {}", reasons.join(", ")))
}

fn tone(app: &AppStatus) -> Tone {
    if app.workers.ready == 0 && app.workers.wanted > 0 {
        Tone::Bad
    } else if app.workers.ready < app.workers.wanted || app.rejected.is_some() {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

fn tally(workers: WorkerTally) -> String {
    let mut text = format!("{} of {} ready", workers.ready, workers.wanted);
    for (number, word) in
        [(workers.starting, "starting"), (workers.draining, "draining"), (workers.stopping, "stopping")]
    {
        if number > 0 {
            text += &format!(", {number} {word}");
        }
    }
    text
}

fn certificates(certificates: &[CertificateStatus]) -> String {
    let rows = certificates.iter().map(|certificate| {
        let left = certificate.expires_in;
        let mut expires = match u64::try_from(left) {
            Ok(left) => format!("in {}", duration(left)),
            Err(_) => format!("expired {} ago", duration(left.unsigned_abs())),
        };
        if let Some(problem) = &certificate.problem {
            expires += &format!(": {problem}");
        }
        let tone = match left {
            ..0 => Tone::Bad,
            _ if certificate.problem.is_some() || left < SOON => Tone::Warning,
            _ => Tone::Plain,
        };
        (tone, vec![certificate.names.join(", "), certificate.source.clone(), expires])
    });
    table(&["CERTIFICATE", "SOURCE", "EXPIRES"], &[], rows)
}

/// A line about a certificate of an authority; `None` while it is well and nothing is under way.
fn acme(host: &AcmeStatus) -> String {
    let none = if host.expires_in.is_some() { "no newer certificate" } else { "no certificate" };
    let name = host.host.as_str();
    match (&host.problem, host.retry_in) {
        _ if host.ordering => format!("\n{name}: a certificate is being ordered\n"),
        (Some(problem), Some(left)) => {
            let again = duration(left);
            format!("\n{}\n", bad(format_args!("{name}: {none}: {}; tried again in {again}", plain(problem))))
        }
        (Some(problem), None) => format!("\n{name}: {none}: {}\n", plain(problem)),
        (None, _) => String::new(),
    }
}

/// A rejected deploy: the reason, and what its workers wrote.
pub(super) fn rejected(app: &str, rejection: &Rejection) -> String {
    let what =
        format!("{app}: generation {} was rejected: {}", rejection.generation, plain(&rejection.reason));
    let mut text = bad(what) + "\n";
    for line in &rejection.output {
        text += &format!("  | {}\n", safe(line, Colours::On));
    }
    text
}

const SOON: i64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anstream::adapter::strip_str;

    use crate::name::{AppName, GenerationId, InstanceName, RouteName};

    use super::*;

    fn app(name: &str, workers: WorkerTally, doing: &str) -> AppStatus {
        AppStatus {
            app: AppName::parse(name).unwrap(),
            path: format!("/srv/rip/{name}").into(),
            described: "Node by `node server.js`".into(),
            recycle: String::new(),
            hosts: vec![RouteName::parse(&format!("{name}.example")).unwrap()],
            generation: GenerationId(3),
            workers,
            scaling: None,
            resting: false,
            again: None,
            canary: None,
            earlier: None,
            queued: 0,
            in_flight: 2,
            tunnels: 0,
            served: 12_345,
            concurrency: 1,
            refused: BTreeMap::new(),
            doing: doing.into(),
            warnings: Vec::new(),
            jobs: Vec::new(),
            rejected: None,
        }
    }

    fn of(apps: Vec<AppStatus>) -> Status {
        Status {
            status: Health::Healthy,
            instance: InstanceName::parse("labs-api").unwrap(),
            version: "0.1.0".into(),
            drained: false,
            pid: 1234,
            uptime: 11_520,
            urls: vec!["https://localhost".into(), "https://api.example".into()],
            control: "/run/rip-server/labs-api.sock".into(),
            doing: "serving".into(),
            apps,
            certificates: vec![],
            acme: vec![],
            service: None,
            backend: None,
            needs_restart: vec![],
        }
    }

    #[test]
    fn a_healthy_server_is_seen_at_a_glance() {
        let all = WorkerTally { wanted: 4, ready: 4, ..WorkerTally::default() };
        let mut page = of(vec![app("api", all, "serving")]);
        page.certificates = vec![CertificateStatus {
            names: vec!["localhost".into(), "api.example".into()],
            source: "self-signed".into(),
            expires_in: 89 * 86_400,
            problem: None,
        }];

        let expected = "\
labs-api: healthy, serving
  https://localhost
  https://api.example
  version 0.1.0, process 1234, up 3 h 12 min, control /run/rip-server/labs-api.sock

APP  GENERATION  WORKERS       QUEUED  IN HAND  TUNNELS  SERVED  DOING
api           3  4 of 4 ready       0        2        0  12,345  serving
  api: Node by `node server.js` in /srv/rip/api, for api.example

CERTIFICATE             SOURCE       EXPIRES
localhost, api.example  self-signed  in 89 d
";
        assert_eq!(strip_str(&status(&page)).to_string(), expected);
    }

    #[test]
    fn a_server_in_trouble_says_why() {
        let none = WorkerTally { wanted: 2, starting: 1, stopping: 1, ..WorkerTally::default() };
        let mut broken = app("api", none, "waiting 2 s before starting a worker: it crashed 3 times");
        broken.queued = 1_024;
        broken.hosts.clear();
        broken.refused = [("no-worker", 3), ("queue-timeout", 1_234), ("over-rate", 0)]
            .map(|(reason, times)| (reason.to_owned(), times))
            .into();
        broken.rejected = Some(Rejection {
            generation: GenerationId(4),
            reason: "a worker exited with status 1 before it was ready".into(),
            output: vec!["Error: Cannot find module 'x'".into(), "\x1b[31m    at main\x1b[0m".into()],
        });
        let mut page = of(vec![broken]);
        page.status = Health::Degraded;
        page.doing = "api has no worker ready".into();
        page.urls.truncate(1);
        page.certificates = vec![
            CertificateStatus {
                names: vec!["a.example".into()],
                source: "files".into(),
                expires_in: -7_200,
                problem: None,
            },
            CertificateStatus {
                names: vec!["b.example".into()],
                source: "mkcert".into(),
                expires_in: 86_400,
                problem: Some("mkcert exited with status 1".into()),
            },
        ];

        let expected = "\
labs-api: degraded, api has no worker ready
  https://localhost
  version 0.1.0, process 1234, up 3 h 12 min, control /run/rip-server/labs-api.sock

APP  GENERATION  WORKERS                               QUEUED  IN HAND  TUNNELS  SERVED  DOING
api           3  0 of 2 ready, 1 starting, 1 stopping   1,024        2        0  12,345  waiting 2 s before starting a worker: it crashed 3 times
  api: Node by `node server.js` in /srv/rip/api, for no host
    refused since the start: 1,234 queue-timeout, 3 no-worker

CERTIFICATE  SOURCE  EXPIRES
a.example    files   expired 2 h ago
b.example    mkcert  in 1 d: mkcert exited with status 1

api: generation 4 was rejected: a worker exited with status 1 before it was ready
  | Error: Cannot find module 'x'
  |     at main
";
        assert_eq!(strip_str(&status(&page)).to_string(), expected);
    }

    #[test]
    fn colours_follow_what_needs_looking_at() {
        let tally = |ready| WorkerTally { wanted: 2, ready, ..WorkerTally::default() };
        assert_eq!(
            [0, 1, 2].map(|ready| tone(&app("api", tally(ready), ""))),
            [Tone::Bad, Tone::Warning, Tone::Plain]
        );
    }
}
