//! From an app's path to what is to run: its settings and what its directory holds, read anew for every generation.
//!
//! Never here: starting anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::apps::{self, Found, Hints, Kind, StaticHint};
use crate::config::app::{AppRequest, AppSettings, app_settings};
use crate::config::merge::Config;
use crate::manager::{Resolve, ResolveError};
use crate::name::HostName;
use crate::spec::{AppSpec, LaunchSpec, Listen, ReadyBy, Reload, Rules};

use super::workers;

/// Reads settings and directories for the manager.
pub(super) struct Resolver {
    config: Arc<Config>,
    /// Where the worker scripts lie.
    scripts: PathBuf,
    /// The program that has the static worker in it.
    self_exe: PathBuf,
}

impl Resolver {
    pub(super) fn new(config: Arc<Config>) -> Self {
        let scripts = workers::scripts(&config.server).folder().to_owned();
        // Stays the running version when an upgrade replaces the file.
        Self { config, scripts, self_exe: PathBuf::from("/proc/self/exe") }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, path: &Path) -> Result<AppSpec, ResolveError> {
        let request = AppRequest::for_path(path, &self.config);
        let settings = app_settings(&request).map_err(|error| ResolveError::new(error.to_string()))?;
        for warning in &settings.warnings {
            tracing::warn!(app = %settings.name, "{warning}");
        }
        let found = apps::detect(path, &self.hints(&settings))
            .map_err(|error| ResolveError::new(error.to_string()))?;
        let first = self.config.apps.first().is_some_and(|first| first.path == path);
        Ok(self.spec(settings, found, first))
    }
}

impl Resolver {
    fn hints(&self, settings: &AppSettings) -> Hints<'_> {
        let path = settings.env.get("PATH").map(OsString::from);
        Hints {
            command: settings.command.clone(),
            listen: settings.listen.map(listen_of_found),
            static_root: settings.static_site.as_ref().map(|site| StaticHint {
                root: Some(site.root.clone()),
                index: Some(site.index.clone()),
                spa: site.spa.then(|| site.index.clone()),
            }),
            runtime_dir_for_scripts: &self.scripts,
            path_env: path.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| USUAL_PATH.into()),
            self_exe: self.self_exe.clone(),
        }
    }

    fn spec(&self, settings: AppSettings, found: Found, first: bool) -> AppSpec {
        let natural = found.concurrency.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let concurrency = settings.concurrency.unwrap_or(natural);
        let recycle = if found.kind.is_stateless() { settings.recycle } else { settings.recycle_if_told };
        let ready_by = settings.ready_by.unwrap_or(match found.ready_by {
            apps::ReadyBy::NotifyOrAnswer => ReadyBy::Either,
            apps::ReadyBy::Answer => ReadyBy::Answer,
        });
        // What the operator sets wins over what the kind of app usually needs.
        let mut env: BTreeMap<String, String> = found.env.iter().cloned().collect();
        if matches!(found.kind, Kind::NodeHandler | Kind::BunHandler) {
            env.insert("RIP_CONCURRENCY".into(), concurrency.to_string());
            if settings.reload == Reload::Module && settings.reload_signal.is_none() {
                env.insert("RIP_RELOAD".into(), "module".into());
            }
        }
        env.extend(settings.env);
        let launch = LaunchSpec {
            app: settings.name.clone(),
            instance: self.config.server.instance.clone(),
            directory: found.command.dir,
            command: found.command.argv,
            env,
            listen: settings.listen.unwrap_or(listen_of_spec(found.listen)),
            // gunicorn says READY=1 when its master has started, before the application is imported: where it is known
            // to be gunicorn, it is not even asked to.
            notify: found.kind != Kind::PythonWsgi || ready_by == ReadyBy::Notify,
            memory: settings.memory,
            kill_after: settings.timeouts.kill,
        };
        let mut hosts = settings.hosts;
        if first {
            hosts.extend(LOCAL_HOSTS.iter().filter_map(|host| HostName::parse(host).ok()));
        }
        hosts.sort();
        hosts.dedup();
        AppSpec {
            name: settings.name,
            path: settings.path,
            described: found.why,
            entry: found.entry,
            hosts,
            launch: Arc::new(launch),
            workers: settings.workers,
            recycle,
            ready_by,
            ready_path: settings.ready_path,
            reload: settings.reload,
            reload_signal: settings.reload_signal,
            rules: Arc::new(Rules {
                timeouts: settings.timeouts,
                max_queue: settings.max_queue,
                max_body: settings.max_body,
                concurrency,
                tunnels: settings.tunnels,
                keepalive: settings.keepalive,
                protocol: settings.protocol,
                stream: settings.stream,
            }),
        }
    }
}

fn listen_of_found(listen: Listen) -> apps::Listen {
    match listen {
        Listen::Fd => apps::Listen::Fd,
        Listen::Path => apps::Listen::Path,
        Listen::Port => apps::Listen::Port,
    }
}

fn listen_of_spec(listen: apps::Listen) -> Listen {
    match listen {
        apps::Listen::Fd => Listen::Fd,
        apps::Listen::Path => Listen::Path,
        apps::Listen::Port => Listen::Port,
    }
}

/// The first app answers for these too.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
