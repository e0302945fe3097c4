//! Owns what the kernel says about who listens where: the sockets in `/proc/net`, and the processes that hold them.
//!
//! Never here: what becomes of a worker whose port another program has (`supervisor`).

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Pid;

use super::{Holder, Listening};
use crate::pool::Address;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    place: SocketAddress,
    inode: u64,
    /// The socket's user; not known for Unix sockets.
    user: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SocketAddress {
    Tcp(SocketAddr),
    Unix(String),
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) if address.ip().is_loopback() || address.ip().is_unspecified() => {
                write!(f, "TCP {}", address.port())
            }
            Self::Tcp(address) => write!(f, "TCP {address}"),
            Self::Unix(path) => write!(f, "the Unix socket {path}"),
        }
    }
}

/// The sockets of a worker, by the processes that hold them.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    /// The sockets of its processes.
    inodes: HashSet<u64>,
    /// The users of those processes that do not show their sockets.
    users: HashSet<u32>,
}

impl Belongings {
    /// The sockets of these processes.
    pub(super) fn of(processes: impl IntoIterator<Item = Pid>) -> Self {
        let mut all = Self::default();
        for process in processes {
            match sockets_of(process) {
                Ok(inodes) => all.inodes.extend(inodes),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    all.users.extend(user_of(process));
                }
                // A process that has ended has no sockets.
                Err(_) => {}
            }
        }
        all
    }

    /// Whether no process shows a socket.
    pub(super) fn shows_nothing(&self) -> bool {
        self.inodes.is_empty()
    }

    /// Counts every socket of this user as the worker's.
    pub(super) fn add_user(&mut self, user: u32) {
        self.users.insert(user);
    }

    fn hold(&self, listener: &Listener) -> bool {
        self.inodes.contains(&listener.inode) || listener.user.is_some_and(|user| self.users.contains(&user))
    }
}

/// Finds out who listens at `address`, and where else the worker listens. Reads much of `/proc`, for some milliseconds,
/// and so needs a thread that may wait. `None`: the kernel does not say.
pub(super) fn look(address: &Address, worker: &Belongings) -> Option<Listening> {
    let listeners = all().ok()?;
    Some(judge(address, worker, &listeners, &|listener| name_of_holder(listener)))
}

fn judge(
    address: &Address,
    worker: &Belongings,
    listeners: &[Listener],
    named: &dyn Fn(&Listener) -> String,
) -> Listening {
    let mut listening = Listening { holder: Holder::Nobody, exposed: None, elsewhere: Vec::new() };
    if let Address::Tcp(wanted) = address {
        let mut best = u8::MAX;
        for listener in listeners {
            let Some(rank) = rank(listener, wanted) else { continue };
            let own = worker.hold(listener);
            // The kernel gives a connection to the socket that is bound most narrowly, and to any of several equal
            // ones.
            if rank < best || (rank == best && !own) {
                best = rank;
                listening.holder = if own { Holder::Worker } else { Holder::Other(named(listener)) };
            }
            if let (SocketAddress::Tcp(bound), true) = (&listener.place, own && rank > 0) {
                listening.exposed = Some(*bound);
            }
        }
    }
    let told = |place: &SocketAddress| match (address, place) {
        (Address::Tcp(wanted), SocketAddress::Tcp(bound)) => wanted.port() == bound.port(),
        (Address::Unix(wanted) | Address::Bound(wanted), SocketAddress::Unix(bound)) => {
            wanted.as_path() == Path::new(bound)
        }
        _ => false,
    };
    let elsewhere = listeners.iter().filter(|listener| worker.inodes.contains(&listener.inode));
    let elsewhere = elsewhere.filter(|listener| !told(&listener.place));
    listening.elsewhere = elsewhere.map(|listener| listener.place.to_string()).collect();
    listening.elsewhere.sort();
    listening.elsewhere.dedup();
    listening
}

/// Whether a connection to `wanted` may come to the socket, and how narrowly that is bound: 0 is best.
fn rank(listener: &Listener, wanted: &SocketAddr) -> Option<u8> {
    let SocketAddress::Tcp(bound) = &listener.place else { return None };
    if bound.port() != wanted.port() {
        return None;
    }
    match bound.ip() {
        ip if ip == wanted.ip() => Some(0),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some_and(|ip| IpAddr::V4(ip) == wanted.ip()) => Some(0),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(1),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(2),
        _ => None,
    }
}

/// All listening sockets of this network namespace: proc_net(5). The files in this process's own folder are there also
/// where `/proc` shows only processes.
fn all() -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for file in ["tcp", "tcp6"] {
        // Without IPv6 there is no such file.
        let Ok(text) = fs::read_to_string(format!("/proc/self/net/{file}")) else { continue };
        listeners.extend(text.lines().filter_map(tcp));
    }
    let text = fs::read_to_string("/proc/self/net/unix")?;
    listeners.extend(text.lines().filter_map(unix));
    Ok(listeners)
}

fn tcp(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, LISTEN, _, _, _, user, _, inode, ..] = fields[..] else { return None };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The machine reads each word of an address in its own byte order, while the address lies in memory as on the wire.
    let word =
        |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match address.len() {
        8 => word(0)?.into(),
        _ => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            <[u8; 16]>::try_from(words.concat()).ok()?.into()
        }
    };
    let place = SocketAddress::Tcp(SocketAddr::new(ip, port));
    Some(Listener { place, inode: inode.parse().ok()?, user: Some(user.parse().ok()?) })
}

fn unix(line: &str) -> Option<Listener> {
    let mut rest = line;
    let mut next = || {
        let (field, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(field)
    };
    let (_number, _references, _protocol, flags) = (next()?, next()?, next()?, next()?);
    let (_kind, _state, inode) = (next()?, next()?, next()?);
    let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    let listener =
        Listener { place: SocketAddress::Unix(rest.to_owned()), inode: inode.parse().ok()?, user: None };
    accepts.then_some(listener)
}

fn sockets_of(process: Pid) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode = target
            .to_str()
            .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
        inodes.extend(inode);
    }
    Ok(inodes)
}

fn user_of(process: Pid) -> Option<u32> {
    fs::metadata(format!("/proc/{process}")).ok().map(|meta| meta.uid())
}

/// The process that holds the socket, for people; where none can be seen, the socket's user.
fn name_of_holder(listener: &Listener) -> String {
    let holds = |pid: &Pid| sockets_of(*pid).is_ok_and(|inodes| inodes.contains(&listener.inode));
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
    match pids.into_iter().find(holds) {
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (process {pid})", name.trim_end())
        }
        None => match listener.user {
            Some(user) => format!("a process of user {user}"),
            None => "another process".into(),
        },
    }
}

/// The state `TCP_LISTEN`.
const LISTEN: &str = "0A";
/// The flag `__SO_ACCEPTCON`.
const ACCEPTS: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use rustix::process::getpid;

    use super::*;

    fn listener(place: &str, inode: u64) -> Listener {
        let place = place.parse().map_or_else(|_| SocketAddress::Unix(place.into()), SocketAddress::Tcp);
        Listener { place, inode, user: Some(7) }
    }

    fn of_inodes(inodes: &[u64]) -> Belongings {
        Belongings { inodes: inodes.iter().copied().collect(), users: HashSet::new() }
    }

    fn holder(listeners: &[Listener]) -> Holder {
        let address = Address::Tcp("127.0.0.1:80".parse().unwrap());
        judge(&address, &of_inodes(&[1, 2]), listeners, &|listener| listener.inode.to_string()).holder
    }

    #[test]
    fn a_connection_comes_to_the_socket_that_is_bound_most_narrowly() {
        let other = |inode: u64| Holder::Other(inode.to_string());
        let table = [
            (vec![], Holder::Nobody),
            (vec![("127.0.0.1:81", 1), ("10.0.0.1:80", 1), ("[::1]:80", 1)], Holder::Nobody),
            (vec![("127.0.0.1:80", 1)], Holder::Worker),
            (vec![("127.0.0.1:80", 9)], other(9)),
            (vec![("0.0.0.0:80", 1)], Holder::Worker),
            (vec![("[::]:80", 2)], Holder::Worker),
            (vec![("[::ffff:127.0.0.1]:80", 2), ("0.0.0.0:80", 9)], Holder::Worker),
            (vec![("0.0.0.0:80", 1), ("127.0.0.1:80", 9)], other(9)),
            (vec![("127.0.0.1:80", 9), ("0.0.0.0:80", 1)], other(9)),
            (vec![("[::]:80", 9), ("127.0.0.1:80", 1)], Holder::Worker),
            // Both processes share the socket: a connection may come to either.
            (vec![("127.0.0.1:80", 1), ("127.0.0.1:80", 9)], other(9)),
        ];
        for (listeners, expected) in table {
            let listeners: Vec<_> = listeners.iter().map(|(place, inode)| listener(place, *inode)).collect();
            assert_eq!(holder(&listeners), expected, "{listeners:?}");
        }
    }

    #[test]
    fn a_user_counts_where_processes_do_not_show_their_sockets() {
        let address = Address::Tcp("127.0.0.1:80".parse().unwrap());
        let mut worker = of_inodes(&[]);
        let listeners = [listener("127.0.0.1:80", 9)];
        let name = |_: &Listener| String::new();
        assert_eq!(judge(&address, &worker, &listeners, &name).holder, Holder::Other(String::new()));
        worker.add_user(7);
        assert_eq!(judge(&address, &worker, &listeners, &name).holder, Holder::Worker);
    }

    #[test]
    fn what_a_worker_listens_on_beside_what_it_was_told_is_named() {
        let name = |_: &Listener| String::new();
        let listeners = [
            listener("127.0.0.1:5000", 1),
            listener("0.0.0.0:80", 2),
            listener("/run/w/1.sock", 2),
            listener("127.0.0.1:9", 3),
        ];
        let port =
            judge(&Address::Tcp("127.0.0.1:80".parse().unwrap()), &of_inodes(&[1, 2]), &listeners, &name);
        assert_eq!(port.elsewhere, ["TCP 5000", "the Unix socket /run/w/1.sock"]);
        assert_eq!(port.exposed, Some("0.0.0.0:80".parse().unwrap()));
        let path = judge(&Address::Unix("/run/w/1.sock".into()), &of_inodes(&[1, 2]), &listeners, &name);
        assert_eq!(path.elsewhere, ["TCP 5000", "TCP 80"]);
        assert_eq!(path.exposed, None);
    }

    #[test]
    fn this_process_is_found_where_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let (v4, v6) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0"));
        let path = folder.path().join("a b.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        let own = Belongings::of([getpid()]);

        let address = Address::Tcp(v4.local_addr().unwrap());
        let seen = look(&address, &own).unwrap();

        assert_eq!(seen.holder, Holder::Worker);
        assert!(seen.elsewhere.contains(&format!("the Unix socket {}", path.display())), "{seen:?}");
        if let Ok(v6) = v6 {
            let place = format!("TCP {}", v6.local_addr().unwrap().port());
            assert!(seen.elsewhere.contains(&place), "{place} in {seen:?}");
        }
        let stranger = look(&address, &Belongings::default()).unwrap();
        let Holder::Other(name) = stranger.holder else { panic!("{stranger:?}") };
        assert!(name.ends_with(&format!("(process {})", getpid())), "{name}");
    }
}
