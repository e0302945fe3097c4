//! Owns what systemd knows of this very process: its unit, and what is being done to that. Never here: workers.

use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, Structure};

use super::bus::{self, UNIT, property};
use super::dbus::ManagerProxy;
use super::properties::Scope;
use super::unit;
use crate::name::InstanceName;

/// This process as a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its unit.
    pub unit: String,
    /// The instance in the unit's name.
    pub instance: InstanceName,
    /// Whose systemd runs it.
    pub scope: Scope,
}

/// What is being done to this process's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
    /// It is stopped because the machine, or the user's manager, goes down.
    Shutdown,
}

/// This process as a service; `None` when it is not the main process of a unit `rip-server@INSTANCE.service`.
pub fn own() -> Option<Own> {
    // A shell started by hand below a service is none: systemd gives only the service itself its notify socket.
    std::env::var_os("NOTIFY_SOCKET")?;
    of_cgroup(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

impl Own {
    /// The job of this process's unit, if it has one; gives up after a second. Needs no privilege. Cancel-safe.
    pub async fn job(&self) -> Option<Job> {
        let asked = timeout(LIMIT, async {
            let bus = bus::connect(self.scope).await?;
            self.job_type(&bus).await
        });
        match asked.await {
            Ok(Ok(job)) => job,
            Ok(Err(error)) => {
                tracing::warn!(%error, "systemd does not say why it asks for the end");
                None
            }
            Err(_) => {
                tracing::warn!("systemd does not say in time why it asks for the end");
                None
            }
        }
    }

    async fn job_type(&self, bus: &Connection) -> zbus::Result<Option<Job>> {
        let path = ManagerProxy::new(bus).await?.get_unit(&self.unit).await?;
        let job = property(bus, path.as_str(), UNIT, "Job").await?;
        let (number, job): (u32, OwnedObjectPath) = Structure::try_from(job)?.try_into()?;
        if number == 0 {
            return Ok(None);
        }
        let kind: String = property(bus, job.as_str(), JOB, "JobType").await?.try_into()?;
        Ok(match kind.as_str() {
            // What `restart` has become once it waits for the stop to be over is a start.
            "restart" | "try-restart" | "reload-or-start" | "start" => Some(Job::Restart),
            "stop" if goes_down(bus).await? => Some(Job::Shutdown),
            "stop" => Some(Job::Stop),
            _ => None,
        })
    }
}

/// Whether systemd stops everything.
async fn goes_down(bus: &Connection) -> zbus::Result<bool> {
    let state: String = property(bus, MANAGER_PATH, MANAGER, "SystemState").await?.try_into()?;
    Ok(state == "stopping")
}

/// cgroups(7): the unit is the last folder with the name of one.
fn of_cgroup(text: &str) -> Option<Own> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    let scope = if path.contains("/user@") { Scope::User } else { Scope::System };
    Some(Own { unit: unit.to_owned(), instance: unit::instance_of_server(unit)?, scope })
}

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const JOB: &str = "org.freedesktop.systemd1.Job";
const LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_tells_unit_and_scope() {
        let own = |path: &str| of_cgroup(&format!("0::{path}\n")).map(|own| (own.unit, own.scope));
        let unit = "rip-server@labs-api.service".to_owned();
        assert_eq!(
            own("/rip.slice/rip-server.slice/rip-server@labs-api.service"),
            Some((unit.clone(), Scope::System))
        );
        assert_eq!(
            own("/user.slice/user-1000.slice/user@1000.service/app.slice/rip-server@labs-api.service"),
            Some((unit, Scope::User))
        );
        for other in ["/", "/user.slice/user-1000.slice/session-2.scope", "/system.slice/nginx.service"] {
            assert_eq!(own(other), None, "{other}");
        }
    }
}
