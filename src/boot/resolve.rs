//! Makes of an app's path the spec that is to run: its settings and the content of its directory, read anew for every
//! generation.
//!
//! Never here: starting anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::apps::procfile;
use crate::apps::production::stand_in;
use crate::apps::{self, DetectedApp, Hints, StaticHint};
use crate::certs::ClientAuthorities;
use crate::config::app::{AppSettings, app_settings, directory};
use crate::config::merge::Config;
use crate::files::beneath::reachable;
use crate::files::error_pages::ErrorPages;
use crate::files::scripts::DocumentRoot;
use crate::name::RouteName;
use crate::passwords::users::Users;
use crate::spec::jobs::{SideProcess, Times, by_shell};
use crate::spec::mounts::Mounts;
use crate::spec::{
    AppSpec, ClientCerts, JobSettings, LaunchSpec, OwnPages, ReadyBy, Reload, Rules, Scripts, Sources,
    Sticky, Upkeep,
};
use crate::supervisor::{Resolve, ResolveError};
use crate::system::calendar;

use super::missing_app;
use super::served_secrets::ServedSecrets;
use super::settings::Settings;
use super::worker_backend::ScriptFolder;

/// Reads settings and directories for the supervisor.
pub(super) struct Resolver {
    settings: Arc<Settings>,
    /// The folder of the worker scripts.
    scripts: PathBuf,
    /// The program that has the static worker in it.
    self_exe: PathBuf,
    /// Whether the server is a service of the system.
    is_service: bool,
    /// The authorities of client certificates, which are read for the apps that ask for certificates.
    authorities: Arc<ClientAuthorities>,
    /// The files of users that apps of the instance have named so far: no app sends one of them.
    users: Mutex<BTreeSet<PathBuf>>,
}

impl Resolver {
    pub(super) fn new(
        settings: Arc<Settings>,
        scripts: &ScriptFolder,
        is_service: bool,
        authorities: Arc<ClientAuthorities>,
    ) -> Self {
        let scripts = scripts.folder().to_owned();
        // `/proc/self/exe` stays the running version when an upgrade replaces the file.
        let self_exe = PathBuf::from("/proc/self/exe");
        Self { settings, scripts, self_exe, is_service, authorities, users: Mutex::default() }
    }

    /// Learns which files of users an app names that is yet to be read.
    pub(super) fn note_users(&self, path: &Path) {
        if let Ok(settings) = app_settings(&self.settings.config().app_at(path)) {
            self.all_users(&settings.rules);
        }
    }

    /// The files of users of all apps that are known, with those that these settings name.
    fn all_users(&self, rules: &Rules) -> Vec<PathBuf> {
        let mut all = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(rules.files_of_users());
        all.iter().cloned().collect()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, path: &Path) -> Result<AppSpec, ResolveError> {
        let config = self.settings.config();
        if let Some(why) = missing_app::explained(path, &config.server.instance, self.is_service) {
            return Err(ResolveError::new(why));
        }
        let (mut settings, found) = self.look(&config, path)?;
        for warning in &settings.warnings {
            tracing::warn!(app = %settings.name, "{warning}");
        }
        settings.rules.client = self.client_certs(std::mem::take(&mut settings.rules.client))?;
        check_users(&settings.rules)?;
        let first = config.apps.first().is_some_and(|first| first.path == path);
        let spec = self.spec(&config, settings, found, first)?;
        for warning in &spec.warnings {
            tracing::warn!(app = %spec.name, "{warning}");
        }
        Ok(spec)
    }
}

impl Resolver {
    fn look(&self, config: &Config, path: &Path) -> Result<(AppSettings, DetectedApp), ResolveError> {
        let request = config.app_at(path);
        let settings = app_settings(&request).map_err(|error| ResolveError::new(error.to_string()))?;
        let found = apps::detect(path, &self.hints(&settings));
        Ok((settings, found.map_err(|error| ResolveError::new(error.to_string()))?))
    }

    /// The client certificates that the app's hosts ask for. The authorities are read now, while a person may be
    /// looking.
    fn client_certs(&self, own: ClientCerts) -> Result<ClientCerts, ResolveError> {
        let client = own.or(&self.settings.at_start().server.client).ok_or_else(|| {
            ResolveError::new(
                "client certificates are asked for, and nothing says whose: set `client.ca` under [app], or \
                 `tls.client.ca`",
            )
        })?;
        let loaded = self.authorities.load(&client);
        loaded.map_err(|error| ResolveError::new(format!("{:#}", anyhow::Error::new(error))))?;
        Ok(client)
    }

    fn hints<'a>(&'a self, settings: &'a AppSettings) -> Hints<'a> {
        let path = settings.env.get("PATH").map(OsString::from);
        Hints {
            command: settings.program.command.clone(),
            listen: settings.program.listen,
            static_root: settings.static_site.as_ref().map(|site| StaticHint {
                // A path below the app's folder is given as it is there, because that folder's own links are followed
                // once a deploy.
                root: site
                    .root
                    .as_ref()
                    .map(|root| root.strip_prefix(directory(&settings.path)).unwrap_or(root).to_owned()),
                index: Some(site.index.clone()),
                spa: site.spa.then(|| site.index.clone()),
            }),
            runtime_dir_for_scripts: &self.scripts,
            path_env: path.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| USUAL_PATH.into()),
            self_exe: self.self_exe.clone(),
            concurrency: settings.rules.concurrency,
            php_root: settings.php.root.as_deref(),
            php_ini: &settings.php_ini,
            behind_proxies: !self.settings.at_start().server.listening.trusted_proxies.is_empty(),
        }
    }

    fn spec(
        &self,
        config: &Config,
        settings: AppSettings,
        found: DetectedApp,
        first: bool,
    ) -> Result<AppSpec, ResolveError> {
        let kind = found.kind;
        let (jobs, left_out) = jobs(settings.jobs.clone(), &directory(&settings.path))?;
        let natural = NonZeroU32::new(found.concurrency).unwrap_or(NonZeroU32::MIN);
        let concurrency = settings.rules.concurrency.unwrap_or(natural);
        let recycle = if kind.stateless { settings.recycle } else { settings.recycle_if_told };
        let ready_by = settings.program.ready_by.unwrap_or(kind.ready_by);
        // The variables that the operator sets win over those that the kind of app needs.
        let mut env: BTreeMap<String, String> = found.env.iter().cloned().collect();
        if kind.by_worker_script {
            env.insert("RIP_CONCURRENCY".into(), concurrency.to_string());
            if settings.upkeep.reload == Reload::Module && settings.upkeep.reload_signal.is_none() {
                env.insert("RIP_RELOAD".into(), "module".into());
            }
        }
        let proxies = &self.settings.at_start().server.listening.trusted_proxies;
        if (kind.finds_client || found.python_path.is_some()) && !proxies.is_empty() {
            let proxies: Vec<_> = proxies.iter().map(ToString::to_string).collect();
            env.insert("RIP_TRUSTED_PROXIES".into(), proxies.join(","));
        }
        let usual = usual_variables(&settings, &found);
        env.extend(usual.into_iter().map(|(name, value)| (name.to_owned(), value)));
        env.extend(settings.env);
        if let Some(folder) = &found.python_path {
            let own = env.remove("PYTHONPATH").or_else(|| std::env::var("PYTHONPATH").ok());
            let own = own.filter(|own| !own.is_empty()).map(|own| format!(":{own}")).unwrap_or_default();
            env.insert("PYTHONPATH".into(), format!("{}{own}", folder.display()));
        }
        let pid_file = kind.writes_pid_file(&found.command.dir);
        let follow = real_folders(&settings.php.follow)?;
        let users = self.all_users(&settings.rules);
        let (files, accel) = mounts(&settings.rules, &found, &follow, &users)?;
        let secrets =
            ServedSecrets { users: &users, found: &found, follow: &follow, mounts: [&files, &accel] };
        let (words, mut warnings) = (secrets.words(), secrets.warnings());
        if settings.rules.sticky != Sticky::Off && concurrency == NonZeroU32::MIN {
            warnings.push(STICKY_AND_ALONE.into());
        }
        if !accel.is_empty() {
            env.insert("RIP_ACCEL".into(), accel.mapping());
        }
        let scripts = scripts(found.scripts, &found.command.dir, follow, users);
        let pages = own_pages(settings.rules.errors.as_deref(), &settings.path)?;
        let protocol = kind.protocol.unwrap_or(settings.rules.protocol);
        let workers =
            kind.workers.filter(|_| !settings.workers_told).map_or(settings.upkeep.workers, Into::into);
        let of_kind = |rules: Rules| Rules {
            concurrency: Some(concurrency),
            protocol,
            scripts: scripts.clone(),
            files: files.clone(),
            accel: accel.clone(),
            pages: pages.clone(),
            ..rules
        };
        let tables = settings.rules.tables.map(of_kind);
        let rules = of_kind(Rules { tables, ..settings.rules });
        let launch = LaunchSpec {
            app: settings.name.clone(),
            instance: config.server.instance.clone(),
            directory: found.command.dir,
            command: found.command.argv.into_iter().chain(words).collect(),
            env,
            listen: settings.program.listen.unwrap_or(found.listen),
            notify: kind.asked_to_notify || ready_by == ReadyBy::Notify,
            pid_file,
            memory: settings.memory,
            kill_after: settings.rules.timeouts.kill,
            job: None,
        };
        let mut hosts = settings.hosts;
        if first {
            hosts.extend(LOCAL_HOSTS.iter().filter_map(|host| RouteName::parse(host).ok()));
        }
        hosts.sort();
        hosts.dedup();
        Ok(AppSpec {
            name: settings.name,
            path: settings.path.clone(),
            described: described(&found.why, concurrency) + &left_out,
            entry: found.entry,
            hosts,
            launch: Arc::new(launch),
            recycle,
            ready_by,
            sources: Arc::new(Sources { root: real_folder(&settings.path), patterns: settings.watch }),
            upkeep: Upkeep { workers, ..settings.upkeep },
            rules: Arc::new(rules),
            jobs: Arc::new(jobs),
            warnings,
        })
    }
}

/// Reads the files of users now, while a person may be looking.
fn check_users(rules: &Rules) -> Result<(), ResolveError> {
    let wrong = rules.files_of_users().into_iter().find_map(|file| Some((Users::read(&file).err()?, file)));
    wrong.map_or(Ok(()), |(why, file)| {
        Err(ResolveError::new(format!(
            "the file of users {}, which `auth` names, {why}; `rip-serverctl passwd {0} NAME` writes such files",
            file.display()
        )))
    })
}

/// The jobs beside the workers, with the lines of the app's `Procfile` where they are to run; and the end of the
/// sentence about the app, which names those that do not.
fn jobs(mut jobs: JobSettings, folder: &Path) -> Result<(JobSettings, String), ResolveError> {
    for (name, timed) in &jobs.timers.0 {
        if let Times::At(expression) = &timed.times {
            calendar::next(expression, SystemTime::now())
                .map_err(|why| ResolveError::new(format!("`at` of [timer.{name}]: {why}")))?;
        }
    }
    let lines = procfile::lines_of(folder).into_iter().filter(|(name, _)| name != "web");
    if jobs.processes {
        for (name, line) in lines {
            let command = by_shell(&line);
            if name != "release" {
                jobs.side_processes.0.entry(name).or_insert(SideProcess { command, count: 1 });
            } else if jobs.release.is_empty() {
                jobs.release = command;
            }
        }
        return Ok((jobs, String::new()));
    }
    let own = |name: &String| match name.as_str() {
        "release" => !jobs.release.is_empty(),
        name => jobs.side_processes.0.contains_key(name),
    };
    let names: Vec<_> = lines.map(|(name, _)| name).filter(|name| !own(name)).collect();
    let left_out = match names.as_slice() {
        [] => String::new(),
        [one] => format!("; the line {one} of its Procfile is not run: processes = true runs it"),
        all => {
            format!("; the lines {} of its Procfile are not run: processes = true runs them", all.join(", "))
        }
    };
    Ok((jobs, left_out))
}

/// The folders in which requests reach scripts.
fn scripts(within: Option<PathBuf>, root: &Path, follow: Vec<PathBuf>, secrets: Vec<PathBuf>) -> Scripts {
    let secrets = reachable(&secrets, std::iter::once(root).chain(follow.iter().map(PathBuf::as_path)));
    Scripts(within.map(|within| Arc::new(DocumentRoot { root: root.to_owned(), within, follow, secrets })))
}

/// The folders of `static` and of `accel`, links followed as they are now.
fn mounts(
    rules: &Rules,
    found: &DetectedApp,
    follow: &[PathBuf],
    secrets: &[PathBuf],
) -> Result<(Mounts, Mounts), ResolveError> {
    let app = &found.command.dir;
    let has_scripts = found.scripts.is_some();
    let files = rules.files.found_in(app, follow, secrets, has_scripts);
    let files = files.map_err(|why| ResolveError::new(format!("`static` {why}")))?;
    if let Some(all) = files.iter().find(|mount| mount.holds(app)) {
        return Err(ResolveError::new(format!(
            "`static` names {}, with the app's own program in it: name a folder in which there are only files to send",
            app.join(&all.root).display()
        )));
    }
    let accel = rules.accel.found_in(app, follow, secrets, false);
    Ok((files, accel.map_err(|why| ResolveError::new(format!("`accel` {why}")))?))
}

/// The folders that links may lead to, links followed as they are now.
fn real_folders(follow: &[PathBuf]) -> Result<Vec<PathBuf>, ResolveError> {
    let real = |folder: &PathBuf| {
        folder.canonicalize().map_err(|error| {
            ResolveError::new(format!("`follow` names {}, which cannot be read: {error}", folder.display()))
        })
    };
    follow.iter().map(real).collect()
}

/// The pages for answers in the app's place, as they are now.
fn own_pages(errors: Option<&Path>, app: &Path) -> Result<OwnPages, ResolveError> {
    let Some(folder) = errors else { return Ok(OwnPages::default()) };
    let pages = ErrorPages::read(&real_folder(app), folder);
    let pages =
        pages.map_err(|why| ResolveError::new(format!("`errors` names {}, {why}", folder.display())))?;
    Ok(OwnPages(Some(Arc::new(pages))))
}

/// A sentence about what the app is and how it is run, with what few people would expect of a worker.
fn described(why: &str, concurrency: NonZeroU32) -> String {
    match concurrency.get() {
        1 => why.to_owned(),
        several => format!("{why}; each worker takes {several} requests at a time (c:{several})"),
    }
}

/// The variables by which runtimes know that they serve the public, without those that the settings give. A value in
/// the server's own environment wins over the default, also where workers do not inherit it.
fn usual_variables(settings: &AppSettings, found: &DetectedApp) -> Vec<(&'static str, String)> {
    let told = |name: &str| settings.env.get(name).cloned().or_else(|| std::env::var(name).ok());
    let usual = found.kind.production(&found.command.dir).into_iter();
    let usual = usual.filter(|(name, _)| !settings.env.contains_key(*name));
    usual
        .map(|(name, value)| {
            (name, told(name).or_else(|| told(stand_in(name)?)).unwrap_or_else(|| value.into()))
        })
        .collect()
}

/// The app's folder, with all links followed: a deploy after a link has changed finds another folder.
fn real_folder(path: &Path) -> PathBuf {
    let folder = directory(path);
    folder.canonicalize().unwrap_or(folder)
}

/// Why clients that keep a worker want one that takes several requests.
const STICKY_AND_ALONE: &str = "`sticky` is set, and each worker takes one request at a time: all requests of a client \
     wait for one worker, and a long poll keeps it from the same client's next request; set `concurrency` to as many \
     requests as the app can answer at a time, such as 16";
/// The hosts that the first app answers for, too.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
