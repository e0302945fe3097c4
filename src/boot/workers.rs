//! What runs the workers: child processes, or units where the server is a service.
//!
//! Never here: running one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::api::Service;
use crate::backend::child::{ChildBackend, ChildSettings};
use crate::backend::systemd::own::{Job, Own, own};
use crate::backend::systemd::properties::Scope;
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
        stop: &Stop,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let own = own();
        let units = match spec.backend {
            BackendChoice::Auto => own.is_some(),
            BackendChoice::Child => false,
            BackendChoice::Systemd => true,
        };
        let scope = own.as_ref().map_or_else(scope_by_user, |own| own.scope);
        let backend: Arc<dyn Backend> = match units {
            true => Arc::new(SystemdBackend::open(systemd(spec, scope, stop, events)?).await?),
            false => Arc::new(ChildBackend::open(child(spec, stop, events)).await?),
        };
        let service = own.as_ref().map(|own| Service {
            unit: own.unit.clone(),
            user: own.scope == Scope::User,
            workers: units.then(|| unit::pattern(&spec.instance)),
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
                Some(Job::Stop) | None => Ending::Stop,
            },
            _ => Ending::Stop,
        }
    }
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
    scope: Scope,
    stop: &Stop,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<SystemdSettings> {
    Ok(SystemdSettings {
        runtime_dir: spec.runtime_dir.clone(),
        instance: spec.instance.clone(),
        socket_prefix: spec.socket_prefix.clone(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        sandbox: spec.sandbox.clone(),
        scope,
        stop: stop.clone(),
        events,
    })
}
