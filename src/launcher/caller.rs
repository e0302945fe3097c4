//! Owns finding out which instance's server calls: the bus names the process, systemd its unit. Never here: what a
//! caller may ask for.

use std::os::fd::AsFd;

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

use crate::backend::systemd::systemd_calls::SystemdCalls;
use crate::backend::systemd::unit;
use crate::name::InstanceName;

/// Why a caller is no instance's server.
#[derive(Debug, thiserror::Error)]
pub(super) enum StrangerError {
    #[error("the caller cannot be told: {0}")]
    Unknown(#[from] zbus::Error),
    #[error("the caller cannot be told: {0}")]
    Bus(#[from] zbus::fdo::Error),
    #[error("the caller has no name on the bus")]
    Nameless,
    #[error("process {pid} is not part of a unit rip-server@INSTANCE.service but of `{unit}`")]
    Stranger { pid: u32, unit: String },
    #[error("the caller is gone")]
    Gone,
}

/// The instance whose server sent a message.
pub(super) async fn instance(
    bus: &Connection,
    systemd: &SystemdCalls,
    header: &Header<'_>,
) -> Result<InstanceName, StrangerError> {
    let sender = header.sender().ok_or(StrangerError::Nameless)?.to_owned();
    let daemon = DBusProxy::new(bus).await?;
    let caller = daemon.get_connection_credentials(BusName::from(sender.clone())).await?;
    let pid = caller.process_id().ok_or(StrangerError::Nameless)?;
    let unit = match caller.process_fd() {
        Some(process) => systemd.unit_of_process(process.as_fd(), pid).await?,
        // A bus older than 1.15.8, such as Debian 12's, has only the number of the process that connected. That process
        // may have ended and left its connection to a child, and its number may be another's by now. In that way a
        // server that was taken over could be taken for another instance's.
        None => systemd.unit_of(pid).await?,
    };
    if !daemon.name_has_owner(BusName::from(sender)).await? {
        return Err(StrangerError::Gone);
    }
    unit::instance_of_server(&unit).ok_or(StrangerError::Stranger { pid, unit })
}
