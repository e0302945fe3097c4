//! TCP keep-alive probes (tcp(7)): the kernel finds out that a client has vanished which may be silent for hours.
//!
//! Only tunnels and event streams over HTTP/1 need it: everything else that waits for a client has a time limit, and
//! HTTP/2 has pings. Never here: what becomes of the connection.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Has the kernel break the connection when its client cannot be reached any more.
pub(in crate::acceptor) fn enable(socket: impl AsFd) {
    if let Err(error) = set(socket) {
        tracing::debug!(%error, "a client's connection cannot be watched");
    }
}

fn set(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_keepidle(&socket, SILENT)?;
    sockopt::set_tcp_keepintvl(&socket, EVERY)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES)?;
    // Sent bytes that are never acknowledged hold the probes back (tcp(7)).
    sockopt::set_tcp_user_timeout(&socket, UNACKNOWLEDGED.as_millis() as u32)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}

const SILENT: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(20);
const PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
