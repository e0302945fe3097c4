//! Owns the sockets of workers: their listeners, or paths or ports for those that workers make, their notify sockets,
//! and the files of both.
//!
//! Never here: a process, or who connects.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_passcred};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use tokio::net::UnixDatagram;

use super::{Order, StartError};
use crate::name::WorkerId;
use crate::pool::Address;
use crate::spec::Listen;
use crate::system::durable::private_dir;

/// Makes the sockets of one instance's workers, below its runtime directory.
pub(super) struct Sockets {
    listeners: PathBuf,
    notify: PathBuf,
    prefix: Option<String>,
    workers: WorkerUsers,
    /// The ports that were handed out lately, the newest last. Any program may take a port before its worker binds it;
    /// this list keeps at least two workers of this server from getting the same one.
    ports: Mutex<VecDeque<u16>>,
}

impl Sockets {
    /// Makes the folders, mode 0700, and removes the sockets of an earlier server, whose workers are gone.
    pub(super) fn prepare(runtime_dir: &Path, prefix: Option<String>) -> io::Result<Self> {
        let sockets = Self::open(runtime_dir, prefix, WorkerUsers::SameUser)?;
        sockets.sweep(&HashSet::new())?;
        Ok(sockets)
    }

    /// Makes the folders, and leaves the sockets that are there.
    pub(super) fn open(runtime_dir: &Path, prefix: Option<String>, workers: WorkerUsers) -> io::Result<Self> {
        let listeners = runtime_dir.join("w");
        private_dir(&listeners, 0o700)?;
        let (notify, mode) = match &workers {
            WorkerUsers::SameUser => (runtime_dir.join("n"), 0o700),
            // Workers pass through the folder to sockets whose names they know, and cannot list it.
            WorkerUsers::OtherUsers { notify, .. } => (notify.clone(), 0o711),
        };
        private_dir(&notify, mode)?;
        Ok(Self { listeners, notify, prefix, workers, ports: Mutex::default() })
    }

    /// Removes all sockets but those of these addresses.
    pub(super) fn sweep(&self, keep: &HashSet<Address>) -> io::Result<()> {
        remove_sockets(&self.listeners, keep)?;
        remove_sockets(&self.notify, &HashSet::new())
    }

    /// The socket of a worker that an earlier server has started.
    pub(super) fn adopt(&self, address: &Address) -> Option<SocketFile> {
        match address {
            Address::Unix(path) | Address::Bound(path) if path.starts_with(&self.listeners) => {
                Some(SocketFile(path.clone()))
            }
            _ => None,
        }
    }

    /// The path of a worker's listener that the server makes.
    pub(super) fn listener_of(&self, worker: WorkerId) -> PathBuf {
        self.listeners.join(match &self.prefix {
            Some(prefix) => format!("{prefix}.{worker}.sock"),
            None => format!("{worker}.sock"),
        })
    }

    /// Makes what a worker will be reached at; a job nowhere.
    pub(super) fn door_of(&self, order: &Order) -> Result<Door, StartError> {
        match order.launch.job {
            None => self.door(order.worker, order.launch.listen),
            Some(_) => Ok(Door { address: None, listener: None, file: None }),
        }
    }

    fn door(&self, worker: WorkerId, listen: Listen) -> Result<Door, StartError> {
        let file = SocketFile(self.listener_of(worker));
        match listen {
            Listen::Fd => {
                let listener = file.listen().map_err(|source| failed(&file.0.display(), source))?;
                Ok(Door {
                    address: Some(Address::Unix(file.0.clone())),
                    listener: Some(listener),
                    file: Some(file),
                })
            }
            Listen::Path => match &self.workers {
                WorkerUsers::SameUser => {
                    let address = Some(Address::Bound(file.0.clone()));
                    Ok(Door { address, listener: None, file: Some(file) })
                }
                WorkerUsers::OtherUsers { bound, .. } => {
                    let path = bound.join(worker.to_string()).join(BOUND);
                    fits(&path).map_err(|source| failed(&path.display(), source))?;
                    Ok(Door { address: Some(Address::Bound(path)), listener: None, file: None })
                }
            },
            Listen::Port => {
                let port = self.free_port().map_err(|source| failed(&"on 127.0.0.1", source))?;
                let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                Ok(Door { address: Some(address), listener: None, file: None })
            }
        }
    }

    /// Makes the socket to which a worker says `READY=1`.
    pub(super) fn notify(&self, worker: WorkerId) -> Result<(UnixDatagram, SocketFile), StartError> {
        let file = SocketFile(self.notify.join(worker.to_string()));
        let bound = UnixDatagram::bind(&file.0).map_err(|source| failed(&file.0.display(), source))?;
        let known = match &self.workers {
            WorkerUsers::SameUser => file.set_mode(0o600),
            // Everybody who may write can send a datagram; the sender's user comes with it.
            WorkerUsers::OtherUsers { .. } => {
                set_socket_passcred(&bound, true).map_err(Into::into).and_then(|()| file.set_mode(0o622))
            }
        };
        known.map_err(|source| failed(&file.0.display(), source))?;
        Ok((bound, file))
    }

    fn free_port(&self) -> io::Result<u16> {
        let mut recent = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..PORT_ATTEMPTS {
            let Some(port) = port_free_on_all_addresses()? else { continue };
            if recent.contains(&port) {
                continue;
            }
            if recent.len() == RECENT_PORTS {
                recent.pop_front();
            }
            recent.push_back(port);
            return Ok(port);
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
    }
}

/// A port that is free on every address of both families, because a program that listens on all of them could not have
/// another. The kernel chooses at random among those that it gives to outgoing connections last: bind(2) to port 0.
fn port_free_on_all_addresses() -> io::Result<Option<u16>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    let Ok(beside) = socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None) else {
        // The machine has no IPv6.
        return Ok(Some(port));
    };
    set_ipv6_v6only(&beside, true)?;
    match bind(&beside, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(Errno::ADDRINUSE) => Ok(None),
        // The port is free for IPv6, too.
        Err(_) | Ok(()) => Ok(Some(port)),
    }
}

/// The address of a worker, and what the worker needs to be reached there.
pub(super) struct Door {
    /// The address to connect to; a job has none.
    pub(super) address: Option<Address>,
    /// The listener of [`Listen::Fd`], to be handed over and then closed: else clients of a dead worker would hang.
    pub(super) listener: Option<UnixListener>,
    /// The socket's file, whoever binds it.
    pub(super) file: Option<SocketFile>,
}

/// The file of a socket; dropping this removes the file.
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A path beside the socket for the file in which a worker writes its pid; removed with the socket.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.0.with_extension("pid")
    }

    fn listen(&self) -> io::Result<UnixListener> {
        let listener = UnixListener::bind(&self.0)?;
        self.set_mode(0o600)?;
        // A connect must not fail because the worker is busy: requests queue in the pool, not here.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    }

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.0, Permissions::from_mode(mode))
    }

    /// Leaves the file to the next server.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The app may have removed the file, or never made it.
        fs::remove_file(&self.0).ok();
        fs::remove_file(self.pid_file()).ok();
    }
}

fn remove_sockets(folder: &Path, keep: &HashSet<Address>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kept =
            [Address::Unix(entry.path()), Address::Bound(entry.path())].iter().any(|own| keep.contains(own));
        if entry.file_type()?.is_socket() && !kept {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Checks the length of a socket's path here, so that the worker does not fail on it.
fn fits(path: &Path) -> io::Result<()> {
    std::os::unix::net::SocketAddr::from_pathname(path).map(drop)
}

fn failed(path: &dyn std::fmt::Display, source: io::Error) -> StartError {
    StartError::Socket { path: path.to_string(), source }
}

/// The users that workers run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkerUsers {
    SameUser,
    /// Users of their own, who can reach nothing in the run-time folder.
    OtherUsers {
        /// The folder of notify sockets.
        notify: PathBuf,
        /// The folder in which another program makes, and removes, a folder for each worker that binds its own socket.
        bound: PathBuf,
    },
}

const BACKLOG: i32 = 4096;
/// The name of the socket in a folder made for it.
const BOUND: &str = "app.sock";
const RECENT_PORTS: usize = 256;
const PORT_ATTEMPTS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn socket_files_are_private_named_after_the_worker_and_removed_in_the_end() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(runtime.path(), None).unwrap();

        let door = sockets.door(WorkerId(7), Listen::Fd).unwrap();
        let (_bound, notify) = sockets.notify(WorkerId(7)).unwrap();

        let (listener, notifier) = (runtime.path().join("w/7.sock"), runtime.path().join("n/7"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [mode(&runtime.path().join("w")), mode(&listener), mode(&notifier)],
            [0o700, 0o600, 0o600]
        );
        assert_eq!(door.address, Some(Address::Unix(listener.clone())));
        UnixStream::connect(&listener).unwrap();
        drop((door, notify));
        assert!(!listener.exists() && !notifier.exists());
    }

    #[tokio::test]
    async fn leftovers_of_an_earlier_server_are_in_nobodys_way() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(runtime.path(), Some("rip_app".into())).unwrap();
        std::mem::forget(sockets.door(WorkerId(1), Listen::Fd).unwrap().file);
        fs::write(runtime.path().join("w/note"), "not a socket").unwrap();

        let sockets = Sockets::prepare(runtime.path(), Some("rip_app".into())).unwrap();

        assert!(!runtime.path().join("w/rip_app.1.sock").exists());
        assert!(runtime.path().join("w/note").exists());
        sockets.door(WorkerId(1), Listen::Fd).unwrap();
    }

    #[test]
    fn a_port_is_not_handed_out_twice_in_a_row() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(runtime.path(), None).unwrap();
        let mut ports: Vec<_> = (0..RECENT_PORTS).map(|_| sockets.free_port().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), RECENT_PORTS);
    }

    #[test]
    fn a_port_that_is_taken_on_another_address_is_not_handed_out() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(runtime.path(), None).unwrap();
        // The kernel gives these ports out on one address.
        let listeners: Vec<_> =
            (0..500).map(|_| std::net::TcpListener::bind(("127.0.0.2", 0)).unwrap()).collect();
        let taken: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let handed_out: Vec<u16> = (0..RECENT_PORTS).map(|_| sockets.free_port().unwrap()).collect();
        assert!(!handed_out.iter().any(|port| taken.contains(port)), "{handed_out:?} and {taken:?}");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_an_error_that_names_it() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(&runtime.path().join("x".repeat(100)), None).unwrap();

        let Err(error) = sockets.door(WorkerId(1), Listen::Fd) else { panic!("bound") };

        assert!(error.to_string().contains("w/1.sock: path must be shorter than SUN_LEN"), "{error}");
    }
}
