//! Owns the question whose server calls: the bus says which process, systemd says which unit. Never here: what a
//! caller may have.

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::BusName;

use crate::backend::systemd::unit;
use crate::name::InstanceName;

use super::systemd::Systemd;

/// Why a caller is nobody's server.
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
    systemd: &Systemd,
    header: &Header<'_>,
) -> Result<InstanceName, StrangerError> {
    let sender = header.sender().ok_or(StrangerError::Nameless)?.to_owned();
    let daemon = DBusProxy::new(bus).await?;
    let pid = daemon.get_connection_unix_process_id(BusName::from(sender.clone())).await?;
    let unit = systemd.unit_of(pid).await?;
    // Its number could be another process's by now only if the caller, and its connection with it, were gone.
    if !daemon.name_has_owner(BusName::from(sender)).await? {
        return Err(StrangerError::Gone);
    }
    unit::instance_of_server(&unit).ok_or(StrangerError::Stranger { pid, unit })
}
