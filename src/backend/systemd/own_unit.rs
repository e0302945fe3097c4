//! Owns what systemd knows of this process: its unit, and the unit's job. Never here: workers.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, Structure};

use super::bus::{self, UNIT, property};
use super::dbus::ManagerProxy;
use super::properties::Scope;
use super::unit;
use crate::name::InstanceName;

/// The service that this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnUnit {
    pub(crate) unit: String,
    /// The instance in the unit's name.
    pub(crate) instance: InstanceName,
    /// The systemd that runs the unit.
    pub(crate) scope: Scope,
}

/// The job of this process's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitJob {
    /// The unit is stopped and started again.
    Restart,
    /// The unit is stopped.
    Stop,
    /// The unit is stopped because the machine, or the user's manager, goes down.
    Shutdown,
}

/// Why a process that systemd started is no service of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoServiceError {
    /// The process's unit has another name.
    #[error("systemd started this server as `{0}`, which is no rip-server@INSTANCE.service")]
    OtherUnit(String),
    /// Neither the control groups nor systemd name the unit.
    #[error(
        "systemd started this server, and of which unit it is cannot be told: /proc/self/cgroup names none, and asked \
         over D-Bus {0}"
    )]
    Unknown(String),
}

/// Finds this process's service by its control groups, whichever hierarchy they are in, else by asking systemd. `None`
/// when systemd did not start the process. Gives up after some seconds. Cancel-safe.
///
/// # Errors
/// [`NoServiceError`] when systemd started the process as another unit, or its unit cannot be found out.
pub(crate) async fn own_unit() -> Result<Option<OwnUnit>, NoServiceError> {
    let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // A shell that was started by hand below a service is none: systemd gives only the service itself its notify socket
    // and the number of its process.
    let started = is_own_number(said("SYSTEMD_EXEC_PID"));
    let found = unit_of_cgroups(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    match found {
        Some(own) if started || said("NOTIFY_SOCKET").is_some() => return Ok(Some(own)),
        _ if !started => return Ok(None),
        _ => {}
    }
    // Only a user's manager sets this variable (systemd.exec(5)).
    let scope = if said("MANAGERPID").is_some() { Scope::User } else { Scope::System };
    let invocation = said("INVOCATION_ID").and_then(|id| invocation(&id));
    let unit = match timeout(ASK_LIMIT, ask(scope, invocation)).await {
        Ok(Ok(unit)) => unit,
        Ok(Err(error)) => return Err(NoServiceError::Unknown(format!("systemd says: {error}"))),
        Err(_) => return Err(NoServiceError::Unknown(format!("systemd does not answer in {ASK_LIMIT:?}"))),
    };
    match unit::instance_of_server(&unit) {
        Some(instance) => Ok(Some(OwnUnit { unit, instance, scope })),
        None => Err(NoServiceError::OtherUnit(unit)),
    }
}

/// Asks for the unit of this process by its process id, else by its invocation id.
async fn ask(scope: Scope, invocation: Option<Vec<u8>>) -> zbus::Result<String> {
    let bus = bus::connect(scope).await?;
    let manager = ManagerProxy::new(&bus).await?;
    let by_process = manager.get_unit_by_pid(std::process::id()).await;
    let object = match (by_process, invocation) {
        (Ok(object), _) => object,
        (Err(_), Some(id)) => manager.get_unit_by_invocation_id(&id).await?,
        (Err(error), None) => return Err(error),
    };
    property(&bus, object.as_str(), UNIT, "Id").await?.try_into()
}

impl OwnUnit {
    /// The job of this process's unit, if it has one; gives up after a second. Needs no privilege. Cancel-safe.
    pub(crate) async fn job(&self) -> Option<UnitJob> {
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

    async fn job_type(&self, bus: &Connection) -> zbus::Result<Option<UnitJob>> {
        let path = ManagerProxy::new(bus).await?.get_unit(&self.unit).await?;
        let job = property(bus, path.as_str(), UNIT, "Job").await?;
        let (number, job): (u32, OwnedObjectPath) = Structure::try_from(job)?.try_into()?;
        if number == 0 {
            return Ok(None);
        }
        let kind: String = property(bus, job.as_str(), JOB, "JobType").await?.try_into()?;
        Ok(match kind.as_str() {
            // A `restart` becomes a `start` when it waits for the stop to be over.
            "restart" | "try-restart" | "reload-or-start" | "start" => Some(UnitJob::Restart),
            "stop" if goes_down(bus).await? => Some(UnitJob::Shutdown),
            "stop" => Some(UnitJob::Stop),
            _ => None,
        })
    }
}

/// Whether systemd stops everything.
async fn goes_down(bus: &Connection) -> zbus::Result<bool> {
    let state: String = property(bus, MANAGER_PATH, MANAGER, "SystemState").await?.try_into()?;
    Ok(state == "stopping")
}

/// The unit in the text of `/proc/PID/cgroup` (cgroups(7)): the last folder with the name of a unit, in the unified
/// hierarchy or, where systemd keeps its services in a hierarchy of its own, in that called `systemd`.
fn unit_of_cgroups(text: &str) -> Option<OwnUnit> {
    let paths = text.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then_some(path)
    });
    paths.filter_map(unit_of_path).next()
}

fn unit_of_path(path: &str) -> Option<OwnUnit> {
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    let scope = if path.contains("/user@") { Scope::User } else { Scope::System };
    Some(OwnUnit { unit: unit.to_owned(), instance: unit::instance_of_server(unit)?, scope })
}

/// Whether `$SYSTEMD_EXEC_PID` is this process's id. The variable is inherited, and has a process's own id only where
/// systemd started it (systemd.exec(5)).
fn is_own_number(pid: Option<OsString>) -> bool {
    pid.as_deref() == Some(OsStr::new(&std::process::id().to_string()))
}

/// The bytes of `$INVOCATION_ID`: 32 digits that stand for 16 bytes.
fn invocation(id: &OsStr) -> Option<Vec<u8>> {
    let id = id.to_str().filter(|id| id.len() == 32 && id.is_ascii())?;
    let byte = |at: usize| u8::from_str_radix(id.get(at..at + 2)?, 16).ok();
    (0..id.len()).step_by(2).map(byte).collect()
}

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const JOB: &str = "org.freedesktop.systemd1.Job";
const LIMIT: Duration = Duration::from_secs(1);
/// The time limit for a bus that comes up beside this process.
const ASK_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Option<(String, Scope)> {
        unit_of_cgroups(text).map(|own| (own.unit, own.scope))
    }

    #[test]
    fn a_cgroup_tells_unit_and_scope() {
        let unit = "rip-server@labs-api.service".to_owned();
        assert_eq!(
            own("0::/rip.slice/rip-server.slice/rip-server@labs-api.service\n"),
            Some((unit.clone(), Scope::System))
        );
        assert_eq!(
            own("0::/user.slice/user-1000.slice/user@1000.service/app.slice/rip-server@labs-api.service\n"),
            Some((unit, Scope::User))
        );
        for other in ["/", "/user.slice/user-1000.slice/session-2.scope", "/system.slice/nginx.service"] {
            assert_eq!(own(&format!("0::{other}\n")), None, "{other}");
        }
    }

    #[test]
    fn every_hierarchy_that_systemd_may_count_in_is_looked_at() {
        let unit = "rip-server@my\\x2dapp.service".to_owned();
        // The groups of Debian 12 with `systemd.unified_cgroup_hierarchy=0`.
        let legacy = "9:name=systemd:/rip.slice/rip-server.slice/rip-server@my\\x2dapp.service\n8:pids:/\n\
                      4:memory:/rip.slice/rip-server.slice\n1:cpu,cpuacct:/\n0::/\n";
        assert_eq!(own(legacy), Some((unit.clone(), Scope::System)));
        // The hybrid layout has both hierarchies.
        let hybrid = "12:pids:/rip.slice\n1:name=systemd:/rip.slice/rip-server@my\\x2dapp.service\n\
                      0::/rip.slice/rip-server@my\\x2dapp.service\n";
        assert_eq!(own(hybrid), Some((unit.clone(), Scope::System)));
        let of_user = "3:cpu:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/\
                       rip-server@my\\x2dapp.service\n0::/user.slice/user-1000.slice/user@1000.service/init.scope\n";
        assert_eq!(own(of_user), Some((unit, Scope::User)));
        // The groups of a controller may be anybody's.
        assert_eq!(own("4:memory:/rip-server@a.service\n1:name=other:/rip-server@a.service\n"), None);
        // A container has a group of its own.
        assert_eq!(own("0::/\n"), None);
        assert_eq!(own(""), None);
    }

    #[test]
    fn an_invocation_is_sixteen_bytes() {
        let id = invocation(OsStr::new("00ff1122334455667788990011223344"));
        assert_eq!(id.map(|id| (id.len(), id[1])), Some((16, 0xff)));
        for wrong in ["", "00ff", "zz112233445566778899001122334455", "00ff112233445566778899001122334455"] {
            assert_eq!(invocation(OsStr::new(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn only_the_process_that_systemd_started_is_it() {
        assert!(is_own_number(Some(std::process::id().to_string().into())));
        assert!(!is_own_number(Some("1".into())));
        assert!(!is_own_number(None));
    }
}
