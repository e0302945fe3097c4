//! The address at which a worker listens, and connecting to it.
//!
//! Never here: who connects, or what is sent.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::TcpStream;

use crate::time::timer;

/// Where a worker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix stream socket that the server made, where no worker can put another in its place.
    Unix(PathBuf),
    /// A Unix stream socket that the worker makes, in a folder that is its own.
    Bound(PathBuf),
    /// A loopback TCP port.
    Tcp(SocketAddr),
}

impl Address {
    /// Connects. Over a Unix socket that succeeds at once or not at all, because a worker that lets its queue fill up
    /// is as good as unreachable (connect(2)); over TCP it succeeds as soon as the queue has room. The socket does not
    /// block. Cancel-safe.
    ///
    /// # Errors
    /// The kernel's error; `InvalidData` when something at the worker's own path is no socket.
    pub(crate) async fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(path) => connect_unix(path),
            Self::Bound(path) => connect_unfollowed(path),
            Self::Tcp(address) => {
                let stream = connect_tcp(*address).await?;
                stream.set_nodelay(true)?;
                Ok(stream.into_std()?.into())
            }
        }
    }
}

/// Connects over TCP. A SYN that is not answered at once met a full queue (listen(2)). The kernel repeats it after a
/// second, when the default time for connecting is over, so that a new connection is tried much earlier.
async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let mut patience = FIRST_SYN;
    loop {
        match timer::timeout(patience, TcpStream::connect(address)).await {
            Ok(connected) => return connected,
            Err(_) => patience = (patience * 2).min(LATER_SYNS),
        }
    }
}

fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Connects to a path without following a link. A worker could put a symbolic link there, for instance to the server's
/// control socket, which would then get strangers' requests. The file that was looked at is the one that is connected
/// to, whatever has its name by then.
fn connect_unfollowed(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Socket {
        let text = format!("{} is not a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    connect_unix(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())))
}

/// The time after which a SYN counts as unanswered: loopback answers within microseconds.
const FIRST_SYN: Duration = Duration::from_millis(10);
const LATER_SYNS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn a_link_in_place_of_a_workers_own_socket_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("app.sock"), folder.path().join("control.sock"));
        let listener = UnixListener::bind(&other).unwrap();
        listener.set_nonblocking(true).unwrap();
        symlink(&other, &own).unwrap();

        let error = Address::Bound(own.clone()).connect().await.unwrap_err();

        assert_eq!(error.to_string(), format!("{} is not a socket", own.display()));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_workers_own_socket_is_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("app.sock");
        let absent = Address::Bound(own.clone()).connect().await.unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);

        let listener = UnixListener::bind(&own).unwrap();
        Address::Bound(own).connect().await.unwrap();

        listener.accept().unwrap();
    }
    /// Time is paused here and passes when nothing else can be done: the kernel's second SYN would come too late.
    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_connected_to_as_soon_as_it_has_room() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let limit = Duration::from_secs(1);
        let mut waiting = Vec::new();
        while let Ok(connected) = timer::timeout(limit, address.connect()).await {
            waiting.push(connected.unwrap());
        }

        let room = async {
            timer::sleep(limit / 2).await;
            listener.accept().await.unwrap()
        };
        let (connected, _accepted) = tokio::join!(timer::timeout(limit, address.connect()), room);

        connected.unwrap().unwrap();
    }
}
