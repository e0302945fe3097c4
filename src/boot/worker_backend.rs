//! Chooses what runs the workers: child processes, or units where the server is a service.
//!
//! Never here: running one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use crate::api::{BackendName, BackendStatus, ServiceUnit};
use crate::backend::child::{ChildBackend, ChildSettings};
use crate::backend::systemd::own_unit::{NoServiceError, OwnUnit, UnitJob, own_unit};
use crate::backend::systemd::properties::Scope;
use crate::backend::systemd::sandbox_in_force::SandboxInForce;
use crate::backend::systemd::{SystemdBackend, SystemdSettings, unit};
use crate::backend::{Backend, WorkerEvent};
use crate::spec::{BackendChoice, ServerSpec};
use crate::tasks::TaskGroup;

use super::shutdown::{AtShutdown, RequestedBy};

/// The backend that the workers are to have, and why.
pub(super) struct BackendPlan {
    /// The systemd whose units workers are; `None`: they are child processes.
    units: Option<Scope>,
    /// How systemd runs the server.
    own: Option<OwnUnit>,
    why: String,
}

impl BackendPlan {
    /// Chooses the backend that the settings name, else by how the server was started.
    ///
    /// # Errors
    /// When systemd has started the server and its workers cannot be units: as its child processes they would be inside
    /// its own sandbox, with its keys in reach, which only an explicit setting may choose.
    pub(super) async fn find(spec: &ServerSpec) -> anyhow::Result<Self> {
        Self::chosen(spec.units.backend, own_unit().await)
    }

    fn chosen(backend: BackendChoice, own: Result<Option<OwnUnit>, NoServiceError>) -> anyhow::Result<Self> {
        let is = |own: &OwnUnit| format!("this server is {}", own.unit);
        Ok(match (backend, own) {
            (BackendChoice::Auto, Ok(Some(own))) => {
                Self { units: Some(own.scope), why: is(&own), own: Some(own) }
            }
            (BackendChoice::Auto, Ok(None)) => {
                Self { units: None, own: None, why: "systemd did not start this server".into() }
            }
            (BackendChoice::Auto, Err(error)) => bail!(
                "cannot run workers as units of systemd: {error}. Start it as rip-server@INSTANCE.service, or say \
                 `backend = \"child\"` (RIP_BACKEND=child, --backend=child) to have workers as child processes, which may \
                 do whatever the server itself may"
            ),
            (BackendChoice::Child, own) => {
                Self { units: None, own: own.ok().flatten(), why: "`backend = \"child\"` says so".into() }
            }
            (BackendChoice::Systemd, own) => {
                let own = own.ok().flatten();
                let units = own.as_ref().map_or_else(scope_by_user, |own| own.scope);
                Self { units: Some(units), own, why: "`backend = \"systemd\"` says so".into() }
            }
        })
    }

    /// Whether the server is a service of the system, which does not see homes.
    pub(super) fn is_of_the_system(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.scope == Scope::System)
    }

    pub(super) fn status(&self) -> BackendStatus {
        let name = if self.units.is_some() { BackendName::Systemd } else { BackendName::Child };
        BackendStatus { name, why: self.why.clone() }
    }

    /// The folder of the worker scripts. The launcher shows workers nothing that the server could have changed, so that
    /// services use the package's scripts.
    pub(super) fn scripts(&self, spec: &ServerSpec) -> ScriptFolder {
        let launcher = self.units == Some(Scope::System) && !rustix::process::geteuid().is_root();
        match launcher {
            true => ScriptFolder::OfThePackage(PathBuf::from(PACKAGED)),
            false => ScriptFolder::of_the_server(spec),
        }
    }
}

/// The backend, in a sentence for `check`, of a server with these settings that is not being started.
pub(super) fn expected(spec: &ServerSpec) -> String {
    match spec.units.backend {
        BackendChoice::Auto => format!(
            "workers are units of systemd where the server is {}, child processes where systemd does not start it",
            unit::server(&spec.instance)
        ),
        BackendChoice::Child => "workers are child processes: `backend = \"child\"` says so".into(),
        BackendChoice::Systemd => "workers are units of systemd: `backend = \"systemd\"` says so".into(),
    }
}

/// The backend, and how systemd runs the server.
pub(super) struct WorkerBackend {
    backend: Arc<dyn Backend>,
    own: Option<OwnUnit>,
    service: Option<ServiceUnit>,
}

impl WorkerBackend {
    pub(super) async fn open(
        plan: BackendPlan,
        spec: &ServerSpec,
        apps: &[PathBuf],
        sandbox: SandboxInForce,
        stop: &TaskGroup,
        events: mpsc::Sender<WorkerEvent>,
    ) -> anyhow::Result<Self> {
        let backend: Arc<dyn Backend> = match plan.units {
            Some(scope) => {
                let scripts = plan.scripts(spec);
                let settings = systemd(spec, apps, sandbox, scope, &scripts, stop, events)?;
                Arc::new(SystemdBackend::open(settings).await?)
            }
            None => Arc::new(ChildBackend::open(child(spec, stop, events)).await?),
        };
        let service = plan.own.as_ref().map(|own| ServiceUnit {
            unit: own.unit.clone(),
            user: own.scope == Scope::User,
            workers: plan.units.map(|_| unit::pattern(&spec.instance)),
        });
        Ok(Self { backend, own: plan.own, service })
    }

    pub(super) fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    pub(super) fn service(&self) -> Option<ServiceUnit> {
        self.service.clone()
    }

    /// The fate of the workers at the server's end: units outlive a restart of their server, and no other end.
    pub(super) async fn at_shutdown(&self, asked: RequestedBy) -> AtShutdown {
        match &self.own {
            Some(own) if asked == RequestedBy::Supervisor && self.backend.outlives() => match own.job().await
            {
                Some(UnitJob::Restart) => AtShutdown::LeaveWorkers,
                Some(UnitJob::Shutdown) => AtShutdown::LeaveToSystemd,
                Some(UnitJob::Stop) | None => AtShutdown::StopWorkers,
            },
            _ => AtShutdown::StopWorkers,
        }
    }
}

/// A folder of worker scripts.
pub(super) enum ScriptFolder {
    /// Written by the server at its start.
    OfTheServer(PathBuf),
    /// Installed beside the program.
    OfThePackage(PathBuf),
}

impl ScriptFolder {
    pub(super) fn of_the_server(spec: &ServerSpec) -> Self {
        Self::OfTheServer(spec.runtime_dir.join("scripts"))
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::OfTheServer(folder) | Self::OfThePackage(folder) => folder,
        }
    }
}

/// The systemd of a server that was started by hand with `backend = "systemd"`.
fn scope_by_user() -> Scope {
    if rustix::process::geteuid().is_root() { Scope::System } else { Scope::User }
}

fn child(spec: &ServerSpec, stop: &TaskGroup, events: mpsc::Sender<WorkerEvent>) -> ChildSettings {
    ChildSettings {
        runtime_dir: spec.runtime_dir.clone(),
        instance: spec.instance.clone(),
        socket_prefix: spec.files.socket_prefix.clone(),
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
    scripts: &ScriptFolder,
    stop: &TaskGroup,
    events: mpsc::Sender<WorkerEvent>,
) -> anyhow::Result<SystemdSettings> {
    Ok(SystemdSettings {
        runtime_dir: spec.runtime_dir.clone(),
        instance: spec.instance.clone(),
        socket_prefix: spec.files.socket_prefix.clone(),
        apps: apps.to_vec(),
        scripts: scripts.folder().to_owned(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        sandbox,
        scope,
        stop: stop.clone(),
        events,
    })
}

/// Where `packaging/install` puts worker scripts.
const PACKAGED: &str = "/usr/lib/rip-server";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::InstanceName;

    fn service() -> OwnUnit {
        let instance = InstanceName::parse("labs-api").unwrap();
        OwnUnit { unit: unit::server(&instance), instance, scope: Scope::System }
    }

    fn chosen(
        backend: BackendChoice,
        own: Result<Option<OwnUnit>, NoServiceError>,
    ) -> Result<String, String> {
        BackendPlan::chosen(backend, own)
            .map(|plan| plan.status().to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn workers_are_units_where_the_server_is_a_service_and_it_says_so() {
        let said = chosen(BackendChoice::Auto, Ok(Some(service()))).unwrap();
        assert_eq!(said, "units of systemd: this server is rip-server@labs-api.service");
        let by_hand = chosen(BackendChoice::Auto, Ok(None)).unwrap();
        assert_eq!(by_hand, "child processes: systemd did not start this server");
    }

    #[test]
    fn a_service_whose_workers_cannot_be_units_does_not_start_unless_it_was_told_to() {
        for error in [
            NoServiceError::OtherUnit("shop.service".into()),
            NoServiceError::Unknown("systemd does not answer in 10s".into()),
        ] {
            let refused = chosen(BackendChoice::Auto, Err(error.clone())).unwrap_err();
            assert!(
                refused.contains(&error.to_string()) && refused.contains("RIP_BACKEND=child"),
                "{refused}"
            );
            let told = chosen(BackendChoice::Child, Err(error)).unwrap();
            assert_eq!(told, "child processes: `backend = \"child\"` says so");
        }
    }
}
