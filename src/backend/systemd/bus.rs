//! Owns the connection to the bus that systemd is on. Never here: what is said over it.

use std::time::Duration;

use zbus::{Connection, OwnedVariant, connection};

use super::properties::Scope;

/// Connects to the bus; every call over the connection has a time limit.
///
/// # Errors
/// When there is no bus, or it does not let this user in.
pub(crate) async fn connect(scope: Scope) -> zbus::Result<Connection> {
    let builder = match scope {
        Scope::System => connection::Builder::system(),
        Scope::User => connection::Builder::session(),
    };
    // The limit is longer than the launcher itself waits for systemd.
    builder.method_timeout(BUS_REPLY_TIMEOUT).build().await
}

/// Reads one property of an object of systemd's, as it is now. A service has hundreds, and systemd takes milliseconds
/// to collect them all, in which it does nothing else.
///
/// # Errors
/// When there is no such object, or no answer comes over the bus.
pub(crate) async fn property(
    bus: &Connection,
    object: &str,
    interface: &str,
    name: &str,
) -> zbus::Result<OwnedVariant> {
    let of = (interface, name);
    let reply = bus.call_method(Some(SYSTEMD), object, Some("org.freedesktop.DBus.Properties"), "Get", &of);
    reply.await?.body().deserialize()
}

/// The object of a unit: its name with everything but letters and digits escaped, as sd_bus_path_encode(3) does.
pub(crate) fn object_of(unit: &str) -> String {
    let mut path = String::from(UNITS);
    path.push('/');
    for (at, byte) in unit.bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit());
        if plain { path.push(char::from(byte)) } else { path.push_str(&format!("_{byte:02x}")) }
    }
    path
}

/// The bus name of systemd.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The properties that every unit has.
pub(crate) const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// The interface of services.
pub(crate) const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// The path below which the objects of all units are.
pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit";
const BUS_REPLY_TIMEOUT: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_systemd_names_them() {
        assert_eq!(
            object_of("rip-worker-labs\\x2dapi-api-1.service"),
            "/org/freedesktop/systemd1/unit/rip_2dworker_2dlabs_5cx2dapi_2dapi_2d1_2eservice"
        );
    }
}
