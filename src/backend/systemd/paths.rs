//! Owns the names that an app and its workers have on the machine: users, folders, and the places where server and
//! workers meet. Pure.
//!
//! systemd follows symbolic links where it shows a folder to a unit. Every such folder therefore lies directly in one
//! of root's, so that neither a worker nor a server that was taken over can put anything in its place. Other users are
//! kept out by folders above, which only root and the server's group may enter. Never here: making the folders.

use std::path::{Path, PathBuf};

use crate::digest::word;
use crate::name::{AppName, InstanceName, WorkerId};

/// The run-time folders of servers, which are hidden from workers.
pub(crate) const SERVERS: &str = "/run/rip-server";
/// The state of servers and of the agent for certificates, and their settings; no worker sees any of these.
pub(super) const SECRETS: [&str; 4] =
    ["-/var/lib/rip-server", "-/var/lib/rip-agent", "-/var/lib/rip-certs", "-/etc/rip-server"];
/// The folder of the folders for workers that make their own sockets; root's, with the server's group, 0750.
pub(crate) const APPS: &str = "/run/rip-apps";
/// The folder of the folders of notify sockets; root's, with the server's group, 0750.
pub(super) const NOTIFY: &str = "/run/rip-server/.notify";

/// The folder in [`NOTIFY`] in which an instance's workers say `READY=1`; the server owns it.
pub(super) fn notify_folder(instance: &InstanceName) -> PathBuf {
    Path::new(NOTIFY).join(instance.as_str())
}

/// The file with the variables of an instance's workers, unless the admin names another.
pub(crate) fn env_file(instance: &InstanceName) -> PathBuf {
    Path::new("/etc/rip-server").join(format!("{instance}.env"))
}

/// The folder in [`APPS`] of the folders of an instance's workers; root owns it.
pub(super) fn sockets_folder(instance: &InstanceName) -> PathBuf {
    Path::new(APPS).join(file_name(instance))
}

/// The folder in which a worker makes its own socket. The worker's user owns it; systemd makes and removes it with the
/// unit.
pub(super) fn socket_folder(instance: &InstanceName, worker: WorkerId) -> PathBuf {
    sockets_folder(instance).join(worker.to_string())
}

/// The folder of an app below the system's folders for state and caches.
pub(crate) fn app_folder(instance: &InstanceName, app: &AppName) -> String {
    format!("rip-apps/{}/{app}", file_name(instance))
}

/// The dynamic user of an app: the same for all its workers, another one for each instance and app.
pub(super) fn user_name(instance: &InstanceName, app: &AppName) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let shown: String = app.as_str().chars().take(9).map(plain).collect();
    // A server chooses the names of its apps, and must find none with another app's user: the word has 85 bits, the
    // whole name 31 letters.
    format!("rip-{shown}-{}", word(&[instance.as_str().as_bytes(), app.as_str().as_bytes()], 17))
}

/// An instance's name as one part of a path that systemd accepts.
fn file_name(instance: &InstanceName) -> String {
    let name = instance.as_str();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if plain {
        return name.to_owned();
    }
    let shown: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{shown}-{}", word(&[name.as_bytes()], 17))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_short_plain_and_apart() {
        let name = |instance: &str, app: &str| {
            user_name(&InstanceName::parse(instance).unwrap(), &AppName::parse(app).unwrap())
        };
        let names =
            [name("a", "b-c"), name("a-b", "c"), name("a", "B.c"), name("a", "averyveryverylongname")];
        for (at, one) in names.iter().enumerate() {
            assert!(one.len() <= 31 && one.starts_with("rip-"), "{one}");
            assert!(!names[at + 1..].contains(one), "{one}");
        }
        assert_eq!(name("blog", "blog"), "rip-blog-i7u6mpxv25nc5hktt");
    }

    #[test]
    fn folders_of_workers_have_names_that_systemd_takes() {
        let folder = |instance: &str| socket_folder(&InstanceName::parse(instance).unwrap(), WorkerId(7));
        assert_eq!(folder("labs-api"), Path::new("/run/rip-apps/labs-api/7"));
        let escaped = folder("my\\x2dapp");
        assert!(escaped.starts_with("/run/rip-apps") && !escaped.to_str().unwrap().contains('\\'));
        assert_ne!(escaped, folder("my_x2dapp"));
    }
}
