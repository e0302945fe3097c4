//! Owns an order in the words of the bus, and a worker's address as its environment keeps it for the next server.
//! Pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::dbus::StartRequest;
use crate::backend::Order;
use crate::backend::contract::environment::places;
use crate::pool::Address;
use crate::spec::Listen;

/// The order as the launcher takes it. The bus takes no path or argument that is not UTF-8.
pub(super) fn start_request(
    order: &Order,
    address: Option<&Address>,
    notify_socket: &Path,
    fingerprint: String,
) -> Result<StartRequest, String> {
    let launch = &order.launch;
    let directory = launch.directory.to_str().ok_or("the directory's path is not UTF-8")?;
    if directory.contains('\\') {
        // A backslash at the end of a unit's line would join the next line to it when systemd reads its units anew.
        return Err(format!(
            "the path {directory} has a backslash, which units cannot have: call the folder something else"
        ));
    }
    let mut environment: HashMap<String, String> = launch.env.clone().into_iter().collect();
    // systemd gives the unit a folder for temporary files of its own.
    let pid_file = PathBuf::from(format!("/tmp/{}.pid", launch.app));
    for (name, value) in places(launch, address, notify_socket, &pid_file) {
        environment.insert(name.into(), value.into_string().map_err(|_| "a socket's path is not UTF-8")?);
    }
    if let Some(address) = address {
        environment.insert(ADDRESS.into(), word(address)?);
    }
    Ok(StartRequest {
        app: launch.app.to_string(),
        worker: order.worker.0,
        generation: order.generation.0,
        directory: directory.to_owned(),
        command: launch.command.clone(),
        environment,
        notifies: launch.notify,
        binds: launch.listen == Listen::Path && launch.job.is_none(),
        fingerprint,
        memory_max: launch.memory.hard.unwrap_or(0),
        kill_after: u64::try_from(launch.kill_after.as_micros()).unwrap_or(u64::MAX),
    })
}

/// The address as a word: `fd`, `path:PATH`, `tcp:ADDRESS:PORT`.
fn word(address: &Address) -> Result<String, &'static str> {
    Ok(match address {
        Address::Unix(_) => "fd".into(),
        Address::Bound(path) => format!("path:{}", path.to_str().ok_or("a socket's path is not UTF-8")?),
        Address::Tcp(address) => format!("tcp:{address}"),
    })
}

/// The address that a word means. `listener` is the path of the worker's listener if the server made it.
pub(super) fn address(word: &str, listener: &Path) -> Option<Address> {
    match word.split_once(':') {
        None if word == "fd" => Some(Address::Unix(listener.into())),
        Some(("path", path)) => Some(Address::Bound(path.into())),
        Some(("tcp", address)) => address.parse().ok().map(Address::Tcp),
        _ => None,
    }
}

/// The variable that keeps the address. No app may set a variable of this name, so that no app can lead the next server
/// to another address.
pub(super) const ADDRESS: &str = "RIP_ADDRESS";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::contract::environment::PID_FILE;
    use crate::backend::tests::order;

    #[test]
    fn an_address_is_kept_as_a_word_and_read_back() {
        let listener = Path::new("/run/w/7.sock");
        for (kept, means) in [
            ("fd", Address::Unix(listener.into())),
            ("path:/run/rip-apps/a:b/7/app.sock", Address::Bound("/run/rip-apps/a:b/7/app.sock".into())),
            ("tcp:127.0.0.1:4000", Address::Tcp(([127, 0, 0, 1], 4000).into())),
        ] {
            assert_eq!(word(&means).unwrap(), kept);
            assert_eq!(address(kept, listener), Some(means));
        }
        for wrong in ["", "unix", "tcp:localhost:80", "port:80", "fd:3"] {
            assert_eq!(address(wrong, listener), None, "{wrong}");
        }
    }

    #[test]
    fn a_directory_that_a_unit_would_misread_is_named() {
        let mut order = order(7, &["app"]);
        Arc::make_mut(&mut order.launch).directory = "/srv/rip/back\\".into();
        let address = Address::Unix("/run/w/7.sock".into());
        let error = start_request(&order, Some(&address), Path::new("/run/n/7"), String::new()).unwrap_err();
        assert!(error.starts_with("the path /srv/rip/back\\ has a backslash"), "{error}");
    }

    #[test]
    fn variables_of_the_app_do_not_change_where_its_worker_is_looked_for() {
        let mut order = order(7, &["app"]);
        let launch = Arc::make_mut(&mut order.launch);
        launch.env = [("HOST", "10.0.0.1"), ("PORT", "3000")].map(|(n, v)| (n.into(), v.into())).into();

        let address = Address::Unix("/run/w/7.sock".into());
        let request = start_request(&order, Some(&address), Path::new("/run/n/7"), String::new()).unwrap();

        assert_eq!(request.environment["PORT"], "3000");
        assert_eq!(request.environment[ADDRESS], "fd");
        assert_eq!(request.environment["NOTIFY_SOCKET"], "/run/n/7");
        assert!(!request.environment.contains_key(PID_FILE));
    }

    #[test]
    fn a_pid_file_is_in_the_worker_s_own_folder_for_temporary_files_unless_the_app_names_one() {
        let mut order = order(7, &["app"]);
        let place = |order: &Order| {
            let address = Address::Unix("/run/w/7.sock".into());
            start_request(order, Some(&address), Path::new("/run/n/7"), String::new()).unwrap().environment
                [PID_FILE]
                .clone()
        };
        Arc::make_mut(&mut order.launch).pid_file = true;
        assert_eq!(place(&order), "/tmp/app.pid");
        Arc::make_mut(&mut order.launch).env = [(PID_FILE.into(), "/srv/x.pid".into())].into();
        assert_eq!(place(&order), "/srv/x.pid");
    }
}
