//! Owns finding the workers that an earlier server left behind, and what they were started with. Never here: which of
//! them are still wanted (`supervisor`).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::timeout;
use zbus::{Connection, OwnedVariant, Variant};

use super::bus::{SERVICE, object_of};
use super::dbus::ManagerProxy;
use super::starter::Target;
use super::watch::unit_signals;
use super::{SystemdInner, start_request, unit};
use crate::backend::contract::environment::JOB;
use crate::backend::{Signal, Started, SurvivingWorker};
use crate::name::{AppName, GenerationId, WorkerId};
use crate::pool::Address;
use crate::spec::JobName;

/// Finds the workers whose program runs. Units that cannot be understood, or are half-way, are stopped.
pub(super) async fn find(shared: &SystemdInner) -> Vec<SurvivingWorker> {
    let Some(bus) = shared.connection().await else { return Vec::new() };
    let found = match timeout(LIMIT, list(shared, &bus)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot find out which workers an earlier server left");
            return Vec::new();
        }
        Err(_) => {
            tracing::warn!(limit = ?LIMIT, "systemd does not say in time which workers an earlier server left");
            return Vec::new();
        }
    };
    let keep: HashSet<Address> =
        found.iter().filter_map(|survivor| survivor.started.address.clone()).collect();
    if let Err(error) = shared.sockets.sweep(&keep) {
        tracing::warn!(%error, "cannot remove the sockets of workers that are gone");
    }
    for survivor in &found {
        let target = target(shared, &survivor.app, survivor.worker);
        let file = survivor.started.address.as_ref().and_then(|address| shared.sockets.adopt(address));
        shared.units.adopt(target, file.into_iter().collect());
    }
    found
}

async fn list(shared: &SystemdInner, bus: &Connection) -> zbus::Result<Vec<SurvivingWorker>> {
    let pattern = unit::pattern(&shared.instance);
    let rows = ManagerProxy::new(bus).await?.list_units_by_patterns(&[], &[&pattern]).await?;
    let mut survivors = Vec::new();
    for row in rows {
        let Some((app, worker)) = unit::parse(&shared.instance, &row.0) else { continue };
        let object = object_of(&row.0);
        let properties = unit_signals::properties(bus, &object, SERVICE).await;
        let read = properties.ok().and_then(|properties| read(shared, &app, worker, &properties));
        match read.filter(|_| row.3 == "active") {
            Some(survivor) => survivors.push(survivor),
            None => {
                tracing::info!(unit = row.0, state = row.3, "stopping what an earlier server left half-way");
                let target = target(shared, &app, worker);
                if let Err(error) = shared.tell_once(bus, &target, Signal::Terminate).await {
                    tracing::warn!(unit = row.0, %error, "cannot stop it");
                }
            }
        }
    }
    Ok(survivors)
}

fn target(shared: &SystemdInner, app: &AppName, worker: WorkerId) -> Target {
    Target { app: app.clone(), worker, unit: unit::name(&shared.instance, app, worker) }
}

fn read(
    shared: &SystemdInner,
    app: &AppName,
    worker: WorkerId,
    properties: &HashMap<String, OwnedVariant>,
) -> Option<SurvivingWorker> {
    let number = |name: &str| match properties.get(name).map(|value| &**value) {
        Some(Variant::U32(number)) => Some(u64::from(*number)),
        Some(Variant::U64(number)) => Some(*number),
        _ => None,
    };
    let environment: Vec<String> = properties.get("Environment")?.try_clone().ok()?.try_into().ok()?;
    let said = |name: &str| {
        environment.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let job = said(JOB).and_then(|job| JobName::parse(&job));
    let address = match &job {
        None => {
            let listener = shared.sockets.listener_of(worker);
            Some(start_request::address(&said(start_request::ADDRESS)?, &listener)?)
        }
        Some(_) => None,
    };
    Some(SurvivingWorker {
        worker,
        app: app.clone(),
        generation: GenerationId(said("RIP_GENERATION")?.parse().ok()?),
        started: Started { pid: u32::try_from(number("MainPID")?).ok().filter(|pid| *pid != 0)?, address },
        fingerprint: said("RIP_LAUNCH")?,
        since: UNIX_EPOCH + Duration::from_micros(number("ExecMainStartTimestamp")?),
        job,
    })
}

const LIMIT: Duration = Duration::from_secs(20);
