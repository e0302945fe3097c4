//! Wires everything together, and takes it apart again: start order, signals, stop order.
//!
//! No other file knows both halves. Never here: what any part does.

mod authorities;
mod banner;
mod certificates;
mod certified_hosts;
mod handshakes;
mod limits;
mod listeners;
mod missing_app;
mod program;
mod resolve;
mod served_secrets;
mod service_access;
mod settings;
mod shutdown;
mod systemd_status;
mod worker_backend;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::process::DumpableBehavior;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::try_join;

use crate::acceptor::{Acceptor, AcceptorParts};
use crate::api::{AppStatus, BackendStatus};
use crate::apps::worker_scripts;
use crate::challenges::Challenges;
use crate::config::merge::Config;
use crate::control::{self, BalancerDrain, Control, ControlParts, ReadinessParts, ServerFacts};
use crate::directory::Directory;
use crate::logging::{self, FlushAtEnd, LogStyle, LogTarget};
use crate::metrics::Metrics;
use crate::name::AppName;
use crate::registry::Registry;
use crate::spec::{AppSpec, CertSources, ClientCerts, ServerSpec};
use crate::supervisor::{Resolve, Supervisor, SupervisorParts};
use crate::system::notify;
use crate::system::sd::Inherited;
use crate::system::signals::Signals;
use crate::system::{durable, orphans, process_setup};
use crate::tasks::{ShutdownToken, TaskGroup};
use crate::time::Heartbeats;

pub use program::run;

use authorities::{Authorities, Whose};
use certificates::Certificates;
use certified_hosts::CertifiedHosts;
use handshakes::ServerTls;
use listeners::{OpenListeners, open_control};
use resolve::Resolver;
use settings::Settings;
use shutdown::{EndTimes, asked_to_stop};
use worker_backend::{BackendPlan, ScriptFolder, WorkerBackend};

/// Serves until it is asked to stop.
///
/// # Errors
/// The cause that keeps the server from starting: a port, a folder, an app that cannot be recognized. An app that
/// starts and fails is no error: the server stays and says so.
fn serve_config(config: Config) -> anyhow::Result<()> {
    process_setup::unblock_signals();
    // The inherited sockets are taken before there is a second thread: the variables that name them are read once.
    let inherited = Inherited::take()?;
    // Servers of other instances run as the same user, and must not read this one's keys out of its memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let style = config.server.log.json.then_some(LogStyle::Json);
    let target = logging::start(style, Some(&config.server.instance), &config.server.log.level)?;
    let _last_records = FlushAtEnd;
    // A person at a terminal reads one line when the server serves, or one sentence why it does not.
    if target == LogTarget::Journal {
        tracing::info!("rip-server {} starts", env!("CARGO_PKG_VERSION"));
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    limits::raise_open_files(&config.server.limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(Arc::new(config), inherited, target));
    notify::flush();
    served
}

/// Describes each app, and how it would be run.
///
/// # Errors
/// When an app cannot be recognized.
pub(crate) fn describe(config: &Config) -> anyhow::Result<Vec<AppSpec>> {
    let resolver = resolver_of(config)?;
    config.apps.iter().map(|app| Ok(resolver.resolve(&app.path)?)).collect()
}

/// A resolver for a look at what would run.
fn resolver_of(config: &Config) -> io::Result<Resolver> {
    let settings = Settings::of_start(Arc::new(config.clone()))?;
    let scripts = ScriptFolder::of_the_server(&config.server);
    Ok(Resolver::new(Arc::new(settings), &scripts, false, ServerTls::new().authorities()))
}

/// Why there is nothing at the path of one of the apps, with what to write; `None` when all are there, or no reason is
/// known. A service does not see homes.
pub(crate) fn missing(config: &Config, is_service: bool) -> Option<String> {
    let instance = &config.server.instance;
    config.apps.iter().find_map(|app| missing_app::explained(&app.path, instance, is_service))
}

/// The things that the service of an instance could not read although root can, or would miss, a sentence each. `etc`
/// is the folder of instances' config files, `apps` that of their apps.
pub(crate) fn unreadable(config: &Config, etc: &Path, apps: &Path) -> Vec<String> {
    let resolver = resolver_of(config).ok();
    let files = |path: &Path| {
        let spec = resolver.as_ref()?.resolve(path).ok()?;
        let ClientCerts { ca, crl, .. } = spec.rules.client.clone();
        let users = spec.rules.files_of_users();
        Some([spec.entry, ca, crl].into_iter().flatten().chain(users).collect::<Vec<_>>())
    };
    let files = config.apps.iter().filter_map(|app| files(&app.path)).flatten();
    service_access::unreadable(config, files.collect(), etc, apps)
}

/// The settings without effect where systemd starts the instance and opens its sockets, a sentence each; none where
/// neither its config file is in `etc` nor its first app in `apps`.
fn left_to_systemd(config: &Config, etc: &Path, apps: &Path) -> Vec<String> {
    if service_access::is_of_a_service(config, etc, apps) {
        settings::left_to_sockets(config)
    } else {
        Vec::new()
    }
}

/// The backend that a server with these settings would have, in a sentence.
fn describe_backend(config: &Config) -> String {
    worker_backend::expected(&config.server)
}

async fn serve(config: Arc<Config>, inherited: Inherited, target: LogTarget) -> anyhow::Result<()> {
    let started = Instant::now();
    let spec = &config.server;
    let mut signals = Signals::listen()?;
    let orphans_stop = TaskGroup::new();
    if orphans::come_here() {
        orphans_stop.spawn("orphans", reap_orphans(orphans_stop.clone()));
    }
    let plan = BackendPlan::find(spec).await?;
    let backend = plan.status();
    let certs_by = if plan.is_of_the_system() { Whose::Machine } else { Whose::Own };
    let scripts = plan.scripts(spec);
    let settings = Arc::new(Settings::of_start(Arc::clone(&config))?);
    // The apps are read before anything is made on the disk, so that a folder that is no app leaves nothing behind.
    let tls = ServerTls::new();
    tls.authorities().load(&spec.client)?;
    let resolver = Resolver::new(Arc::clone(&settings), &scripts, plan.is_of_the_system(), tls.authorities());
    let paths: Vec<PathBuf> = config.apps.iter().map(|app| app.path.clone()).collect();
    let specs = read_apps(&resolver, &paths)?;
    // The drain of the server is the longest that any app gives its requests.
    let drain = specs.iter().map(|spec| spec.rules.timeouts.drain).max().unwrap_or_default();
    let control_sockets = open_control(spec, inherited.control)?;
    let spool = spec.state_dir.join("spool");
    make_folders(spec, &spool, &scripts)?;
    if !inherited.https.is_empty() || !inherited.http.is_empty() {
        for warning in settings::left_to_sockets(&config) {
            tracing::warn!("{warning}");
        }
    }
    let listeners = OpenListeners::open(spec, inherited.https, inherited.http)?;

    let (metrics, directory, challenges) = (Metrics::new(), Directory::new(), Challenges::default());
    let (backend_stop, supervisor_stop, control_stop, keeper_stop, agent_stop) =
        (TaskGroup::new(), TaskGroup::new(), TaskGroup::new(), TaskGroup::new(), TaskGroup::new());
    let clients = tls.authorities();
    let tls = Some(tls).filter(|_| !listeners.https.is_empty());
    let handshakes = tls.as_ref().map(|tls| tls.handshakes(spec, &directory, inherited.tickets));
    let (events_in, events) = mpsc::channel(EVENTS);
    // Certificates come before any worker is started: files that cannot be used are reported before anything runs.
    let (keeper, workers) = try_join!(
        async {
            let Some(tls) = &tls else { return Ok(None) };
            let sources = CertSources { acme_store: Some(certs_by.pairs(spec)), ..spec.certs.clone() };
            tls.keep(spec, sources, &directory, &metrics, &keeper_stop).await.map(Some)
        },
        WorkerBackend::open(plan, spec, &paths, settings.sandbox(), &backend_stop, events_in),
    )?;
    let registry = Registry::open(&spec.state_dir.join("registry.json"))?;
    // Every app is read again when it starts, and then keeps to itself what the others name.
    let added: BTreeSet<_> = registry.entries().map(|entry| &entry.path).collect();
    added.into_iter().for_each(|path| resolver.note_users(path));
    let (urls, redirects) = listeners.urls();
    // The journal has a record of each line, and the person who started the server may not be looking.
    let people = !config.server.log.json && target != LogTarget::Journal;
    if people {
        logging::say(&banner::text(spec, &urls, &redirects, &specs, cores(), &backend));
    }
    let parts = SupervisorParts {
        directory: directory.clone(),
        backend: workers.backend(),
        events,
        registry,
        resolve: Arc::new(resolver),
        metrics: metrics.clone(),
        cores: cores(),
        serving_generations: Some(spec.runtime_dir.join("generations.json")),
        released_content: spec.state_dir.join("releases.json"),
        stop: supervisor_stop.clone(),
    };
    let supervisor = Supervisor::start(parts, paths);
    let certified = keeper.clone().map(|keeper| CertifiedHosts { directory: directory.clone(), keeper });
    let authorities =
        Authorities::start(spec, certs_by, certified, &challenges, &metrics, &agent_stop).await?;
    let (shutdown, heartbeats) = (ShutdownToken::new(), Heartbeats::new());
    let readiness = ReadinessParts {
        supervisor: supervisor.clone(),
        shutdown: shutdown.clone(),
        drain: BalancerDrain::default(),
        when: spec.listening.ready,
    };
    Control::start(ControlParts {
        listeners: control_sockets,
        supervisor: supervisor.clone(),
        facts: Arc::new(ServerFacts {
            instance: spec.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            urls: urls.clone(),
            control: spec.control_socket.clone(),
            certificates: Arc::new(Certificates {
                keeper,
                clients,
                authorities,
                imported: spec.state_dir.join("certs/imported"),
                stop: agent_stop.clone(),
            }),
            asked_by_balancers: spec.listening.health.is_some() || spec.listening.agent.is_some(),
            lame_duck: spec.listening.lame_duck,
            drain,
            service: workers.service(),
            backend: backend.clone(),
            settings: Arc::clone(&settings) as Arc<dyn control::ServerSettings>,
        }),
        metrics: metrics.clone(),
        stop: control_stop.clone(),
        shutdown: shutdown.clone(),
        drain: readiness.drain.clone(),
        heartbeats: heartbeats.clone(),
    })?;
    if let Some(address) = spec.listening.health {
        control::serve_health(address, readiness.clone(), heartbeats.clone(), &control_stop)
            .await
            .with_context(|| format!("listen.health: cannot listen on {address}"))?;
    }
    if let Some(address) = spec.listening.agent {
        control::serve_agent_check(address, readiness, &control_stop)
            .await
            .with_context(|| format!("listen.agent: cannot listen on {address}"))?;
    }
    if let Some(address) = spec.listening.metrics {
        control::serve_metrics(address, supervisor.clone(), metrics.clone(), control_stop.clone())
            .await
            .with_context(|| format!("cannot serve metrics on {address}"))?;
    }
    supervisor.begun().await;
    let tls = match handshakes {
        Some(handshakes) => Some(handshakes.choose(challenges.clone(), &keeper_stop).await?),
        None => None,
    };
    let acceptor = Acceptor::start(AcceptorParts {
        spec: spec.clone(),
        spool,
        https: listeners.https,
        http: listeners.http,
        tls,
        directory,
        challenges,
        metrics,
        to_journal: target == LogTarget::Journal,
        threads: spec.listening.threads.map_or_else(cores, |threads| threads.get() as usize),
        heartbeats: heartbeats.clone(),
    })?;

    let tried = tokio::select! {
        unserved = supervisor.settle(|app, rejected| if people {
            logging::say(&banner::settled(app, rejected, &specs, cores(), started.elapsed()));
        }) => Ok(unserved),
        asked = asked_to_stop(&mut signals, &*settings, &supervisor, &shutdown) => Err(asked),
        never = systemd_status::ask_for_time() => match never {},
    };
    let asked = match tried {
        Ok(unserved) => {
            // A terminal has had a line for each app.
            for app in unserved.iter().filter(|app| target != LogTarget::Terminal || app.app.is_none()) {
                tracing::error!(app = app.app.as_ref().map(AppName::as_str), path = %app.path.display(), "not serving: {}", app.reason);
            }
            let apps = supervisor.apps().await;
            if people {
                logging::say(&banner::added(&apps, &specs));
            }
            say_ready(&urls, &apps, &backend);
            systemd_status::tell(&urls, &supervisor, &heartbeats, &control_stop);
            asked_to_stop(&mut signals, &*settings, &supervisor, &shutdown).await
        }
        Err(asked) => asked,
    };

    // From here on the status says that the server ends, whichever side asked for it.
    shutdown.request();
    let at_shutdown = workers.at_shutdown(asked).await;
    let times = EndTimes { lame_duck: spec.listening.lame_duck, drain };
    shutdown::end(at_shutdown, times, acceptor, &supervisor, &mut signals).await;
    shutdown::end_tasks(&[
        (&supervisor_stop, "supervisor"),
        (&keeper_stop, "certificates"),
        (&agent_stop, "certificate authorities"),
        (&backend_stop, "workers"),
        (&control_stop, "control"),
        (&orphans_stop, "orphans"),
    ])
    .await;
    tracing::info!("stopped");
    Ok(())
}

async fn reap_orphans(stop: TaskGroup) {
    tokio::select! {
        () = stop.requested() => {}
        failed = orphans::reap() => if let Err(error) = failed {
            tracing::warn!(%error, "processes whose parents have ended are not reaped");
        },
    }
}

fn make_folders(spec: &ServerSpec, spool: &Path, scripts: &ScriptFolder) -> anyhow::Result<()> {
    for folder in [&spec.state_dir, &spec.runtime_dir, spool] {
        durable::private_dir(folder, 0o700).with_context(|| format!("cannot use {}", folder.display()))?;
    }
    if let ScriptFolder::OfTheServer(scripts) = scripts {
        worker_scripts::install(scripts).with_context(|| format!("cannot write to {}", scripts.display()))?;
    }
    Ok(())
}

/// Reads the apps. An app that cannot be recognized is an error at once, while a person may be looking.
fn read_apps(resolver: &Resolver, paths: &[PathBuf]) -> anyhow::Result<Vec<AppSpec>> {
    let specs = paths.iter().map(|path| Ok(resolver.resolve(path)?));
    specs.collect()
}

/// Reports that the server is ready, also when an app is not: the server answers for that app, and says so.
fn say_ready(urls: &[String], apps: &[AppStatus], backend: &BackendStatus) {
    let text = systemd_status::line(&urls.join(" "), apps, 0.0);
    if apps.iter().all(AppStatus::can_serve) {
        tracing::info!("ready: {text}; workers are {backend}");
    } else {
        tracing::warn!("started, but not every app has a worker: {text}; workers are {backend}");
    }
    notify::ready(&text);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The events that may wait for the supervisor.
const EVENTS: usize = 1024;
