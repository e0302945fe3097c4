//! What runs the workers: child processes, or units where the server is a service.
//!
//! Never here: running one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::api::Service;
use crate::backend::child::{ChildBackend, ChildSettings};
use crate::backend::systemd::own::{Job, Own, own};
use crate::backend::systemd::properties::Scope;
use crate::backend::systemd::sandbox::SandboxInForce;
use crate::backend::systemd::{SystemdBackend, SystemdSettings, unit};
use crate::backend::{Backend, Event};
use crate::spec::{BackendChoice, ServerSpec};
use crate::stop::Stop;

use super::ending::{Asked, Ending};

/// The backend, and how systemd runs the server.
pub(super) struct Workers {
    backend: Arc<dyn Backend>,
    own: Option<Own>,
    service: Option<Service>,
}

impl Workers {
    pub(super) async fn open(
        spec: &ServerSpec,
        apps: &[PathBuf],
        sandbox: SandboxInForce,
        stop: &Stop,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let own = own();
        let units_of = units_of(spec, own.as_ref());
        let backend: Arc<dyn Backend> = match units_of {
            Some(scope) => {
                Arc::new(SystemdBackend::open(systemd(spec, apps, sandbox, scope, stop, events)?).await?)
            }
            None => Arc::new(ChildBackend::open(child(spec, stop, events)).await?),
        };
        let service = own.as_ref().map(|own| Service {
            unit: own.unit.clone(),
            user: own.scope == Scope::User,
            workers: units_of.map(|_| unit::pattern(&spec.instance)),
        });
        Ok(Self { backend, own, service })
    }

    pub(super) fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    pub(super) fn service(&self) -> Option<Service> {
        self.service.clone()
    }

    /// Workers that are units outlive a restart of their server, and only that.
    pub(super) async fn ending(&self, asked: Asked) -> Ending {
        match &self.own {
            Some(own) if asked == Asked::Supervisor && self.backend.outlives() => match own.job().await {
                Some(Job::Restart) => Ending::Leave,
                Some(Job::Shutdown) => Ending::LeaveToSystemd,
                Some(Job::Stop) | None => Ending::Stop,
            },
            _ => Ending::Stop,
        }
    }
}

/// Where the worker scripts lie. The launcher shows workers nothing that the server could have changed: there they are
/// the package's.
pub(super) fn scripts(spec: &ServerSpec) -> Scripts {
    let launcher =
        units_of(spec, own().as_ref()) == Some(Scope::System) && !rustix::process::geteuid().is_root();
    match launcher {
        true => Scripts::OfThePackage(PathBuf::from(PACKAGED)),
        false => Scripts::OfTheServer(spec.runtime_dir.join("scripts")),
    }
}

/// A folder of worker scripts.
pub(super) enum Scripts {
    /// Written by the server at its start.
    OfTheServer(PathBuf),
    /// Installed beside the program.
    OfThePackage(PathBuf),
}

impl Scripts {
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::OfTheServer(folder) | Self::OfThePackage(folder) => folder,
        }
    }
}

/// Whose units workers are; `None`: they are child processes.
fn units_of(spec: &ServerSpec, own: Option<&Own>) -> Option<Scope> {
    let units = match spec.backend {
        BackendChoice::Auto => own.is_some(),
        BackendChoice::Child => false,
        BackendChoice::Systemd => true,
    };
    units.then(|| own.map_or_else(scope_by_user, |own| own.scope))
}

/// Started by hand, with `backend = "systemd"`.
fn scope_by_user() -> Scope {
    if rustix::process::geteuid().is_root() { Scope::System } else { Scope::User }
}

fn child(spec: &ServerSpec, stop: &Stop, events: mpsc::Sender<Event>) -> ChildSettings {
    ChildSettings {
        runtime_dir: spec.runtime_dir.clone(),
        instance: spec.instance.clone(),
        socket_prefix: spec.socket_prefix.clone(),
        self_exe: PathBuf::from("/proc/self/exe"),
        stop: stop.clone(),
        events,
    }
}

fn systemd(
    spec: &ServerSpec,
    apps: &[PathBuf],
    sandbox: SandboxInForce,
    scope: Scope,
    stop: &Stop,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<SystemdSettings> {
    Ok(SystemdSettings {
        runtime_dir: spec.runtime_dir.clone(),
        instance: spec.instance.clone(),
        socket_prefix: spec.socket_prefix.clone(),
        apps: apps.to_vec(),
        scripts: scripts(spec).folder().to_owned(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        sandbox,
        scope,
        stop: stop.clone(),
        events,
    })
}

/// Where `packaging/install` puts worker scripts.
const PACKAGED: &str = "/usr/lib/rip-server";
