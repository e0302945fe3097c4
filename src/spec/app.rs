//! An app as it is to run.
//!
//! Never here: what its files look like, or finding out what it is (`apps`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::Serialize;

use super::jobs::JobName;
use super::setting_types::{ClientCertMode, Listen, Protocol, ReadyBy};
use super::settings::table::{
    AnswerFields, ClientCerts, JobSettings, Memory, Recycle, RequestFields, Rules, Upkeep,
};
use crate::name::{AppName, InstanceName, RouteName};
use crate::pattern::Pattern;

/// An app as it is to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppSpec {
    pub(crate) name: AppName,
    /// The app's path as it was given: a directory or an entry file.
    pub(crate) path: PathBuf,
    /// A sentence for people about what the app is and how it is run.
    pub(crate) described: String,
    /// The file whose modification time shows that the app has changed.
    pub(crate) entry: Option<PathBuf>,
    /// The hosts that the app's settings name.
    pub(crate) hosts: Vec<RouteName>,
    /// How a worker of the next generation is started.
    pub(crate) launch: Arc<LaunchSpec>,
    /// How the app's workers are kept.
    pub(crate) upkeep: Upkeep,
    pub(crate) recycle: Recycle,
    /// The sign by which a worker is ready.
    pub(crate) ready_by: ReadyBy,
    /// The files whose change counts beside that of the entry and the settings.
    pub(crate) sources: Arc<Sources>,
    /// The settings for the data path.
    pub(crate) rules: Arc<Rules>,
    /// The jobs that run beside the app's workers.
    pub(crate) jobs: Arc<JobSettings>,
    /// Warnings of settings that are dangerous together with the app's files, or do not do what they are for, a sentence
    /// each.
    pub(crate) warnings: Vec<String>,
}

/// How one worker of a generation is started: fixed when the generation is made, so that a respawn runs the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchSpec {
    /// The app.
    pub app: AppName,
    /// The instance.
    pub instance: InstanceName,
    /// The working directory, symbolic links followed.
    pub directory: PathBuf,
    /// Program and arguments; the program is a path or is looked up in `PATH` of `env`, else of the server.
    pub command: Vec<String>,
    /// The worker's environment, without the names of the worker contract.
    pub env: BTreeMap<String, String>,
    /// How the listening socket is handed over.
    pub listen: Listen,
    /// Whether the worker is offered `NOTIFY_SOCKET`; programs that say `READY=1` before the app is loaded are not.
    pub notify: bool,
    /// Whether the worker is given a `PIDFILE` of its own, unless `env` names one.
    pub pid_file: bool,
    /// Limits that the backend enforces.
    pub memory: Memory,
    /// The time from SIGTERM to SIGKILL when a worker is killed or does not stop.
    pub kill_after: Duration,
    /// The job that is run in a worker's place; such a command listens nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
}

impl LaunchSpec {
    /// How a job of the same generation is started: with folder, environment and user of the workers, and as long as a
    /// worker may take for its requests to end.
    pub(crate) fn of_job(&self, job: JobName, command: Vec<String>, kill_after: Duration) -> Self {
        let mut env = self.env.clone();
        env.insert("PATH".into(), self.path_of_commands(std::env::var("PATH").ok()));
        Self {
            command,
            env,
            notify: false,
            pid_file: false,
            memory: Memory::default(),
            kill_after,
            job: Some(job),
            ..self.clone()
        }
    }

    /// Where the programs of commands are looked for: in the app's own folders, then where its workers look for them,
    /// which is `inherited` where no setting says it.
    pub(crate) fn path_of_commands(&self, inherited: Option<String>) -> String {
        let usual = self.env.get("PATH").cloned().or(inherited).unwrap_or_else(|| USUAL_PATH.into());
        let environment = self.env.get("VIRTUAL_ENV").map(|folder| Path::new(folder).join("bin"));
        let own = OWN_PROGRAMS.iter().map(|folder| self.directory.join(folder));
        let own = environment.into_iter().chain(own).filter(|folder| folder.is_dir());
        // A folder with a colon in its name cannot be looked in.
        let all = std::env::join_paths(own.chain(std::env::split_paths(&usual)));
        all.ok().and_then(|all| all.into_string().ok()).unwrap_or(usual)
    }
}

/// The folders of an app in which tools put its programs.
const OWN_PROGRAMS: [&str; 3] = ["node_modules/.bin", ".venv/bin", "venv/bin"];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl JobSettings {
    /// Whether the app runs nothing beside its workers.
    pub(crate) fn is_empty(&self) -> bool {
        self.release.is_empty() && self.side_processes.0.is_empty() && self.timers.0.is_empty()
    }

    /// The command of a job, if there is that job.
    pub(crate) fn command(&self, job: &JobName) -> Option<&Vec<String>> {
        match job {
            JobName::Release => Some(&self.release).filter(|command| !command.is_empty()),
            JobName::Process(name) => self.side_processes.0.get(name).map(|process| &process.command),
            JobName::Timer(name) => self.timers.0.get(name).map(|timer| &timer.command),
        }
    }
}

/// Source files of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// The app's folder, links followed.
    pub(crate) root: PathBuf,
    /// The patterns of the files.
    pub(crate) patterns: Vec<Pattern>,
}

impl Recycle {
    /// The limits with which a worker is never replaced for what it has served.
    #[cfg(test)]
    pub(crate) const OFF: Self = Self { requests: None, age: None, reloads: None };
}

/// The words after "each worker is replaced": `after 10000 requests or 1h`, `never`.
impl fmt::Display for Recycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests.map(|requests| format!("{requests} requests"));
        let age = self.age.map(span);
        let reasons: Vec<_> = requests.into_iter().chain(age).collect();
        if reasons.is_empty() { f.write_str("never") } else { write!(f, "after {}", reasons.join(" or ")) }
    }
}

/// The time in the largest unit that leaves no rest.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_millis() > 0 {
        return format!("{} s", time.as_secs_f64());
    }
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds} s"), |(length, unit)| format!("{} {unit}", seconds / length))
}

impl Rules {
    /// Requests that a worker takes at the same time.
    pub(crate) fn concurrency(&self) -> NonZeroU32 {
        self.concurrency.unwrap_or(NonZeroU32::MIN)
    }

    /// Whether a request's path may mean a file or a script.
    pub(crate) fn has_files(&self) -> bool {
        self.scripts.0.is_some() || !self.files.is_empty()
    }

    /// The rules for all paths first, then those of each table for some paths.
    fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.tables.values().map(Arc::as_ref))
    }

    /// The apps of this server that are asked whether requests may pass, each once.
    pub(crate) fn asked_apps(&self) -> BTreeSet<AppName> {
        self.each().filter_map(|rules| rules.auth.asked_app().cloned()).collect()
    }

    /// The files of users that these settings name, and those for some paths.
    pub(crate) fn files_of_users(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            self.each().filter_map(|rules| rules.auth.users().map(PathBuf::from)).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Whether a client at this address may ask at all.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        let named = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !named(&self.deny) && (self.allow.is_empty() || named(&self.allow))
    }

    /// Whether request bodies of this path are passed on as they come. Only the app can choose that, because such a
    /// body holds a worker meanwhile.
    pub(crate) fn streams(&self, path: &str) -> bool {
        self.protocol == Protocol::H2c || self.stream.iter().any(|prefix| is_below(path, prefix))
    }
}

impl AnswerFields {
    /// Makes the changes in an answer's head.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        change(headers, &self.remove, &self.set, &self.add);
    }
}

impl RequestFields {
    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Makes the changes in a request's head.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        change(headers, &self.remove, &self.set, &self.add);
    }

    /// The fields that the settings give to requests, whatever their clients send.
    pub(crate) fn given(&self) -> impl Iterator<Item = &HeaderName> {
        self.set.iter().chain(&self.add).map(|(name, _)| name)
    }
}

type ActionFields = [(HeaderName, HeaderValue)];

fn change(headers: &mut HeaderMap, remove: &[HeaderName], set: &ActionFields, add: &ActionFields) {
    for name in remove {
        headers.remove(name);
    }
    for (name, value) in set {
        headers.insert(name, value.clone());
    }
    for (name, value) in add {
        headers.append(name, value.clone());
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl ClientCerts {
    /// Whether clients are asked for certificates at all.
    pub(crate) fn are_asked_for(&self) -> bool {
        self.ca.is_some() && self.mode != Some(ClientCertMode::Off)
    }

    /// Whether a client without an accepted certificate is refused.
    pub(crate) fn are_required(&self) -> bool {
        self.are_asked_for() && self.mode != Some(ClientCertMode::Request)
    }

    /// The settings in force, with `all` for those that are missing here; lists of revoked certificates belong to their
    /// authorities. `None`: certificates are asked for, but no setting names the authorities.
    pub(crate) fn or(self, all: &Self) -> Option<Self> {
        let lists_of_all = all.crl.as_ref().filter(|_| self.ca.is_none());
        let crl = self.crl.or_else(|| lists_of_all.cloned());
        let ca = self.ca.or_else(|| all.ca.clone());
        let mode = self.mode.or(all.mode);
        let is_of_no_use = crl.is_some() || mode.is_some_and(|mode| mode != ClientCertMode::Off);
        match ca {
            None if is_of_no_use => None,
            None => Some(Self::default()),
            Some(ca) => Some(Self { ca: Some(ca), crl, mode: mode.or(Some(ClientCertMode::Require)) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certs(ca: &str, crl: &str, mode: Option<ClientCertMode>) -> ClientCerts {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        ClientCerts { ca: path(ca), crl: path(crl), mode }
    }

    #[test]
    fn an_app_says_what_it_wants_and_leaves_the_rest_to_what_holds_for_all() {
        use ClientCertMode::{Off, Request, Require};
        let all = certs("ca", "crl", Some(Require));
        let nobody = ClientCerts::default();
        for (own, all, expected) in [
            (certs("", "", None), &all, Some(all.clone())),
            (certs("", "", Some(Request)), &all, Some(certs("ca", "crl", Some(Request)))),
            (certs("own", "", None), &all, Some(certs("own", "", Some(Require)))),
            (certs("own", "list", Some(Request)), &all, Some(certs("own", "list", Some(Request)))),
            (certs("", "list", None), &all, Some(certs("ca", "list", Some(Require)))),
            (certs("own", "", None), &nobody, Some(certs("own", "", Some(Require)))),
            (certs("", "", None), &nobody, Some(nobody.clone())),
            (certs("", "", Some(Off)), &nobody, Some(nobody.clone())),
            (certs("", "", Some(Require)), &nobody, None),
            (certs("", "list", None), &nobody, None),
        ] {
            assert_eq!(own.clone().or(all), expected, "{own:?} beside {all:?}");
        }
        let off = certs("", "", Some(Off)).or(&all).unwrap();
        assert!(!off.are_asked_for() && !off.are_required());
        let own = certs("", "", Some(Require)).or(&off).unwrap();
        assert!(own.are_asked_for() && own.are_required(), "authorities may be named where nobody is asked");
    }

    #[test]
    fn streamed_paths_match_themselves_and_below() {
        for (path, prefix, matches) in [
            ("/up", "/up", true),
            ("/up/a", "/up", true),
            ("/up/a", "/up/", true),
            ("/upper", "/up", false),
            ("/", "/up", false),
            ("/anything", "/", true),
        ] {
            let rules = Rules { stream: vec![prefix.into()], ..Rules::default() };
            assert_eq!(rules.streams(path), matches, "{path} below {prefix}");
        }
    }

    #[test]
    fn who_is_denied_may_not_ask_though_allowed() {
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        for (allow, deny, address, admitted) in [
            (&[][..], &[][..], "192.0.2.1", true),
            (&["10.0.0.0/8"], &[], "10.1.2.3", true),
            (&["10.0.0.0/8"], &[], "192.0.2.1", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.2.3", true),
            (&[], &["0.0.0.0/0", "::/0"], "2001:db8::1", false),
            (&["10.0.0.0/8"], &[], "2001:db8::1", false),
        ] {
            let rules = Rules { allow: networks(allow), deny: networks(deny), ..Rules::default() };
            assert_eq!(rules.admits(address.parse().unwrap()), admitted, "{address}: {allow:?} {deny:?}");
        }
    }
}
