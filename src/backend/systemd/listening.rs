//! Owns finding out where a worker's unit listens: by the processes of its control group, or by its user where these
//! show nothing to the server.
//!
//! Never here: reading the sockets (`listeners`).

use std::fs;

use rustix::process::Pid;
use tokio::task::spawn_blocking;
use zbus::{Connection, Variant};

use super::SystemdInner;
use super::bus::{SERVICE, object_of, property};
use super::properties::Scope;
use crate::backend::Listening;
use crate::backend::listeners::{Belongings, look};
use crate::name::WorkerId;
use crate::pool::Address;

impl SystemdInner {
    /// Finds out who listens at the worker's address, and where else the worker listens; `None` where that cannot be
    /// found out.
    pub(super) async fn listening(&self, worker: WorkerId, address: Address) -> Option<Listening> {
        let target = self.units.target(worker)?;
        let bus = self.connection().await?;
        let unit = object_of(&target.unit);
        let group = text(&bus, &unit, "ControlGroup").await?;
        // A user's units are all of one user, so that the user tells nothing apart.
        let user = if self.scope == Scope::System { Some(number(&bus, &unit, "UID").await?) } else { None };
        let look = move || {
            let mut own = Belongings::of(processes(&group));
            if let Some(user) = user.filter(|_| own.shows_nothing()) {
                own.add_user(user);
            }
            look(&address, &own)
        };
        // The task fails only when the runtime shuts down.
        spawn_blocking(look).await.ok()?
    }
}

/// The processes of a control group, in whichever hierarchy systemd keeps its own.
fn processes(group: &str) -> Vec<Pid> {
    let folders = ["", "/systemd", "/unified"];
    let read = |folder| fs::read_to_string(format!("/sys/fs/cgroup{folder}{group}/cgroup.procs")).ok();
    let lines = folders.into_iter().find_map(read).unwrap_or_default();
    lines.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

async fn text(bus: &Connection, unit: &str, name: &str) -> Option<String> {
    match &*property(bus, unit, SERVICE, name).await.ok()? {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    }
}

async fn number(bus: &Connection, unit: &str, name: &str) -> Option<u32> {
    match &*property(bus, unit, SERVICE, name).await.ok()? {
        // All bits set mean: none yet.
        Variant::U32(number) if *number != u32::MAX => Some(*number),
        _ => None,
    }
}
