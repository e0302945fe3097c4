//! Makes listening sockets: the port that was given, or the first one that can be had.
//!
//! Never here: sockets that systemd made (`sd`), or accepting on either.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

use crate::spec::PortChoice;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The port that was asked for cannot be had.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Given { address: SocketAddr, source: io::Error },
    /// None of the ports that were tried can be had.
    #[error("cannot listen on port {first}, nor on any from {PROBE_FROM} to {PROBE_TO}: {source}")]
    None {
        /// The scheme's own port, which was tried first.
        first: u16,
        /// Why the last port cannot be had.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need root or a socket unit; leave the port out to get a free one"
        }
        io::ErrorKind::AddrInUse => ": another program listens there; `ss -ltnp` shows which",
        _ => "",
    }
}

/// Listens on `port` of all the addresses, or of every address when there are none.
///
/// With [`PortChoice::Probe`] the port is `own`, or the first free one from 5000 up when `own` is taken or not allowed.
///
/// # Errors
/// [`BindError`], with what to do.
pub(crate) fn bind_port(
    addresses: &[IpAddr],
    port: PortChoice,
    own: u16,
) -> Result<Vec<TcpListener>, BindError> {
    match port {
        PortChoice::Given(port) => {
            bind_all(addresses, port).map_err(|(address, source)| BindError::Given { address, source })
        }
        PortChoice::Probe => {
            let mut last = match bind_all(addresses, own) {
                Ok(listeners) => return Ok(listeners),
                Err((_, error)) if may_go_on(&error) => error,
                Err((address, source)) => return Err(BindError::Given { address, source }),
            };
            for port in PROBE_FROM..=PROBE_TO {
                match bind_all(addresses, port) {
                    Ok(listeners) => return Ok(listeners),
                    Err((_, error)) => last = error,
                }
            }
            Err(BindError::None { first: own, source: last })
        }
    }
}

fn may_go_on(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse)
}

fn bind_all(addresses: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    if addresses.is_empty() {
        return bind_everywhere(port).map(|listener| vec![listener]);
    }
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in addresses {
        // Port 0 means one free port for all addresses.
        let port =
            listeners.first().and_then(|first| first.local_addr().ok()).map_or(port, |first| first.port());
        let address = SocketAddr::new(*address, port);
        listeners.push(bind_one(address, true).map_err(|error| (address, error.into()))?);
    }
    Ok(listeners)
}

/// Makes one socket for IPv6 and IPv4, or for IPv4 alone where there is no IPv6.
fn bind_everywhere(port: u16) -> Result<TcpListener, (SocketAddr, io::Error)> {
    let six = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match bind_one(six, false) {
        Ok(listener) => Ok(listener),
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            let four = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            bind_one(four, true).map_err(|error| (four, error.into()))
        }
        Err(error) => Err((six, error.into())),
    }
}

fn bind_one(address: SocketAddr, six_only: bool) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, six_only)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

const PROBE_FROM: u16 = 5000;
const PROBE_TO: u16 = 5999;
/// The connections that the kernel keeps until they are accepted; the kernel cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_taken_port_is_an_error_that_says_so() {
        let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_port(&[LOOPBACK], PortChoice::Given(port), 443).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("another program"), "{error}");
    }

    #[test]
    fn probing_goes_on_from_5000_when_the_own_port_is_taken() {
        let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let own = taken.local_addr().unwrap().port();
        let listeners = bind_port(&[LOOPBACK], PortChoice::Probe, own).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert!((PROBE_FROM..=PROBE_TO).contains(&port), "{port}");
    }
}
