//! Owns the control socket's file: made with its mode, never taken from a running server, unlinked when this server has
//! made it.
//!
//! Never here: what is said over it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::system::durable::{LockError, LockFile};

/// A listening control socket. Dropping it unlinks the file, if [`bind`] has made it and it is still the same.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    // The first field is closed first: nobody should connect to a file that is about to be removed.
    listener: UnixListener,
    file: Option<ControlSocketFile>,
}

impl ControlSocket {
    /// Takes over a socket that systemd made and keeps.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub(crate) fn inherited(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, file: None })
    }

    pub(super) fn into_parts(self) -> (UnixListener, Option<ControlSocketFile>) {
        (self.listener, self.file)
    }
}

/// Makes the control socket at `path`, mode 0660, and replaces one that a server left behind.
///
/// The mode is never wider than 0660, whatever the umask, and no connection is accepted before the mode is right.
///
/// # Errors
/// See [`ControlSocketError`]; when another server lives there, its socket is untouched. Blocks on the disk.
pub(crate) fn bind(path: &Path) -> Result<ControlSocket, ControlSocketError> {
    let failed = |source: io::Error| ControlSocketError::Io { path: path.into(), source };
    let address = SocketAddrUnix::new(path).map_err(|_| ControlSocketError::Path { path: path.into() })?;
    let lock = LockFile::acquire(&lock_of(path)).map_err(|error| match error {
        LockError::Held { pid, .. } => ControlSocketError::Held { path: path.into(), pid },
        LockError::Io { path, source } => ControlSocketError::Io { path, source },
    })?;
    clear(path)?;

    let socket = stream_socket().map_err(|errno| failed(errno.into()))?;
    // Linux gives the file the socket's own mode without the umask's bits: it starts out too narrow at worst.
    fchmod(&socket, Mode::from_bits_truncate(MODE)).map_err(|errno| failed(errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| failed(errno.into()))?;
    let file =
        ControlSocketFile { identity: identity(path).map_err(failed)?, path: path.into(), _lock: lock };
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed(errno.into()))?;
    Ok(ControlSocket { listener: socket.into(), file: Some(file) })
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlSocketError {
    /// Another server has the socket.
    #[error(
        "{} uses the control socket `{}`: stop it with `rip-serverctl --socket {1} stop`, \
         or run this one with another --runtime-dir",
        server(*pid),
        path.display(),
    )]
    Held {
        path: PathBuf,
        /// The server's process, if that is known.
        pid: Option<u32>,
    },
    /// Something that is no socket has the name.
    #[error("`{}` is in the way of the control socket: it is not a socket; move it away", path.display())]
    NotASocket {
        /// The path of what is in the way.
        path: PathBuf,
    },
    /// The path cannot be a socket's.
    #[error("`{}` cannot be a socket: its path must have 1 to 107 bytes", path.display())]
    Path { path: PathBuf },
    #[error("cannot make the control socket `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Removes a socket on which nobody listens. A listener without this server's lock is systemd's, or a server's of
/// another kind.
fn clear(path: &Path) -> Result<(), ControlSocketError> {
    let failed = |source: io::Error| ControlSocketError::Io { path: path.into(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(ControlSocketError::NotASocket { path: path.into() });
    }
    match knock(path) {
        // The listener's queue is full, but the listener is there.
        Ok(()) | Err(Errno::AGAIN) => Err(ControlSocketError::Held { path: path.into(), pid: None }),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Connects to the socket without waiting, in case the server hangs.
fn knock(path: &Path) -> Result<(), Errno> {
    let socket = stream_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The socket's file, for as long as it belongs to this server.
#[derive(Debug)]
pub(super) struct ControlSocketFile {
    path: PathBuf,
    identity: (u64, u64),
    _lock: LockFile,
}

impl Drop for ControlSocketFile {
    fn drop(&mut self) {
        // A person may have put another file in its place.
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the control socket could not be unlinked");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn lock_of(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

fn server(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("another server (process {pid})"),
        None => "another server".into(),
    }
}

const MODE: u32 = 0o660;
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn socket(&self) -> PathBuf {
            self.0.path().join("api.sock")
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_with_its_server() {
        let place = Place::new();

        let socket = bind(&place.socket()).unwrap();
        assert_eq!(mode(&place.socket()), 0o660);
        UnixStream::connect(place.socket()).unwrap();

        drop(socket);
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_running_servers_socket_is_never_stolen() {
        let place = Place::new();
        let socket = bind(&place.socket()).unwrap();

        let error = bind(&place.socket()).unwrap_err();

        let (path, pid) = (place.socket(), std::process::id());
        let path = path.display();
        let expected = format!(
            "another server (process {pid}) uses the control socket `{path}`: stop it with \
             `rip-serverctl --socket {path} stop`, or run this one with another --runtime-dir"
        );
        assert_eq!(error.to_string(), expected);
        UnixStream::connect(place.socket()).unwrap();
        drop(socket);
    }

    #[test]
    fn a_listener_that_holds_no_lock_is_not_robbed_either() {
        let place = Place::new();
        let _systemd = UnixListener::bind(place.socket()).unwrap();

        let error = bind(&place.socket()).unwrap_err();

        assert!(matches!(error, ControlSocketError::Held { pid: None, .. }), "{error}");
        UnixStream::connect(place.socket()).unwrap();
    }

    #[test]
    fn a_server_that_is_stuck_keeps_its_socket_too() {
        let place = Place::new();
        let stuck = stream_socket().unwrap();
        rustix::net::bind(&stuck, &SocketAddrUnix::new(place.socket()).unwrap()).unwrap();
        rustix::net::listen(&stuck, 0).unwrap();
        let _waiting = UnixStream::connect(place.socket()).unwrap();

        let error = bind(&place.socket()).unwrap_err();

        assert!(matches!(error, ControlSocketError::Held { pid: None, .. }), "{error}");
        assert!(place.socket().exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced() {
        let place = Place::new();
        drop(UnixListener::bind(place.socket()).unwrap());
        assert!(place.socket().exists());

        let _socket = bind(&place.socket()).unwrap();

        UnixStream::connect(place.socket()).unwrap();
        assert_eq!(mode(&place.socket()), 0o660);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let place = Place::new();
        fs::write(place.socket(), "precious").unwrap();

        let error = bind(&place.socket()).unwrap_err();

        assert!(matches!(error, ControlSocketError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
    }

    #[test]
    fn another_file_in_our_place_is_not_unlinked() {
        let place = Place::new();
        let socket = bind(&place.socket()).unwrap();
        fs::remove_file(place.socket()).unwrap();
        let _theirs = UnixListener::bind(place.socket()).unwrap();

        drop(socket);

        UnixStream::connect(place.socket()).unwrap();
    }

    #[test]
    fn an_inherited_socket_stays() {
        let place = Place::new();
        let listener = UnixListener::bind(place.socket()).unwrap();

        drop(ControlSocket::inherited(listener).unwrap());

        assert!(place.socket().exists());
    }

    #[test]
    fn a_path_no_socket_can_have_is_told() {
        let place = Place::new();
        let long = place.0.path().join("x".repeat(120));

        assert!(matches!(bind(&long).unwrap_err(), ControlSocketError::Path { .. }));
    }
}
