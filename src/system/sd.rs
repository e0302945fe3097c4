//! Owns what systemd passes to the server through the environment: inherited sockets, and the variables that are meant
//! for the server alone.
//!
//! Never here: messages to systemd (`notify`), D-Bus, and unsetting variables; child processes are started without
//! [`SYSTEMD_ENV`] instead.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::net::UnixListener;

use libsystemd::activation::{FileDescriptor, IsType, receive_descriptors_with_names};
use libsystemd::errors::SdError;
use listenfd::ListenFd;

/// Variables by which systemd speaks to this process and to no other: workers and helpers must not inherit them.
pub(crate) const SYSTEMD_ENV: &[&str] = &[
    // sockets
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "FDSTORE",
    // notifications and the watchdog
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    // who is who
    "INVOCATION_ID",
    "MAINPID",
    "MAINPIDFDID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "SYSTEMD_EXEC_PID",
    "PIDFILE",
    // logs
    "JOURNAL_STREAM",
    "LOG_NAMESPACE",
    "DEBUG_INVOCATION",
    // the server's own folders and secrets
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "LOGS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    // memory pressure
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    // how it was started, how its predecessor ended
    "EXIT_CODE",
    "EXIT_STATUS",
    "MONITOR_EXIT_CODE",
    "MONITOR_EXIT_STATUS",
    "MONITOR_INVOCATION_ID",
    "MONITOR_SERVICE_RESULT",
    "MONITOR_UNIT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SERVICE_RESULT",
    "TRIGGER_PATH",
    "TRIGGER_TIMER_MONOTONIC_USEC",
    "TRIGGER_TIMER_REALTIME_USEC",
    "TRIGGER_UNIT",
];

/// The listening sockets that systemd passed, by the names their units give (`FileDescriptorName=`), all nonblocking.
///
/// systemd chooses their order, which changes from start to start. Nothing here unlinks a socket.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// The listeners for HTTPS.
    pub(crate) https: Vec<TcpListener>,
    /// The listeners for plain HTTP.
    pub(crate) http: Vec<TcpListener>,
    /// The listeners of the control socket.
    pub(crate) control: Vec<UnixListener>,
    /// The keys of session tickets that the process before has given to systemd.
    pub(crate) tickets: Option<Vec<u8>>,
}

/// Why the passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InheritError {
    /// `LISTEN_FDS` or its companions do not parse, or the descriptors are not open.
    #[error("cannot take over the sockets from systemd (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES)")]
    Environment(#[source] SdError),
    /// The numbers of descriptors and of names differ.
    #[error(
        "{sockets} sockets were passed with {names} names: set FileDescriptorName= in each socket unit, or all of \
         LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES"
    )]
    Names {
        /// The number in `LISTEN_FDS`.
        sockets: usize,
        /// The number of names in `LISTEN_FDNAMES`.
        names: usize,
    },
    /// A socket has a name that the server does not know.
    #[error("socket {index} from systemd is called `{name}`: expected `https`, `http` or `control`")]
    UnknownName {
        /// The socket's index, from 0.
        index: usize,
        name: String,
    },
    /// A socket with a known name is of another kind.
    #[error("socket {index} from systemd is called `{name}` but is {found}: expected {expected}")]
    WrongKind {
        /// The socket's index, from 0.
        index: usize,
        name: String,
        /// The kind of the passed socket.
        found: &'static str,
        /// The kind that belongs to the name.
        expected: &'static str,
    },
    /// The kernel refused to look at a socket or to make it nonblocking.
    #[error("socket {index} from systemd, `{name}`, cannot be used")]
    Socket {
        /// The socket's index, from 0.
        index: usize,
        name: String,
        source: io::Error,
    },
}

impl Inherited {
    /// Takes the sockets over; none were passed where `LISTEN_FDS` is unset or meant for another process.
    ///
    /// The call comes once, before the first thread, because it unsets `LISTEN_FDS` and `LISTEN_PID`; a second call
    /// finds nothing.
    ///
    /// # Errors
    /// See [`InheritError`]; the server should not start then, since a socket would stay without an answer.
    pub(crate) fn take() -> Result<Self, InheritError> {
        // The first library knows the names, the second owns the descriptors; both count from the same first
        // descriptor.
        let named = receive_descriptors_with_names(false).map_err(InheritError::Environment)?;
        let mut owned = ListenFd::from_env();
        if owned.len() != named.len() {
            return Err(InheritError::Names { sockets: owned.len(), names: named.len() });
        }
        let sockets = named.into_iter().enumerate().map(|(index, (descriptor, name))| {
            let socket = match name.as_str() {
                TICKETS => Ok(InheritedSocket::Kept(read_kept(descriptor))),
                _ => InheritedSocket::take(&mut owned, index, &descriptor),
            };
            (name, socket)
        });
        Self::group(sockets.collect())
    }

    fn group(sockets: Vec<(String, io::Result<InheritedSocket>)>) -> Result<Self, InheritError> {
        let mut inherited = Self::default();
        for (index, (name, socket)) in sockets.into_iter().enumerate() {
            let place = NamedSocket { index, name };
            let socket = match socket.and_then(InheritedSocket::nonblocking) {
                Ok(socket) => socket,
                Err(source) => return Err(place.broken(source)),
            };
            match (place.name.as_str(), socket) {
                ("https", InheritedSocket::Tcp(listener)) => inherited.https.push(listener),
                ("http", InheritedSocket::Tcp(listener)) => inherited.http.push(listener),
                ("control", InheritedSocket::Unix(listener)) => inherited.control.push(listener),
                (_, InheritedSocket::Kept(bytes)) => inherited.tickets = bytes.ok(),
                ("https" | "http", other) => return Err(place.wrong(&other, TCP)),
                ("control", other) => return Err(place.wrong(&other, UNIX)),
                _ => return Err(place.unknown()),
            }
        }
        Ok(inherited)
    }
}

impl fmt::Display for Inherited {
    /// Writes how many sockets of each kind there are, for a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { https, http, control, tickets: _ } = self;
        write!(f, "{} https, {} http, {} control", https.len(), http.len(), control.len())
    }
}

/// A passed descriptor, owned if it is of a kind that can be asked for here.
#[derive(Debug)]
enum InheritedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// The bytes that an earlier process gave systemd to keep.
    Kept(io::Result<Vec<u8>>),
    Other(&'static str),
}

impl InheritedSocket {
    fn take(owned: &mut ListenFd, index: usize, descriptor: &FileDescriptor) -> io::Result<Self> {
        // A refusal means another type or family; the descriptor is then left where it is.
        if let Ok(Some(listener)) = owned.take_tcp_listener(index) {
            return Ok(if listens(&listener)? { Self::Tcp(listener) } else { Self::Other(CONNECTED) });
        }
        if let Ok(Some(listener)) = owned.take_unix_listener(index) {
            return Ok(if listens(&listener)? { Self::Unix(listener) } else { Self::Other(CONNECTED) });
        }
        Ok(Self::Other(describe(descriptor)))
    }

    /// Makes a socket nonblocking: systemd passes blocking ones, on which the runtime would hang.
    fn nonblocking(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
            Self::Unix(listener) => listener.set_nonblocking(true)?,
            Self::Kept(_) | Self::Other(_) => {}
        }
        Ok(self)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => TCP,
            Self::Unix(_) => UNIX,
            Self::Kept(_) => "a file",
            Self::Other(kind) => kind,
        }
    }
}

/// Reads a file that systemd has kept. The descriptor has no owner here, so that the file is opened again.
fn read_kept(descriptor: FileDescriptor) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/self/fd/{}", descriptor.into_raw_fd()))?;
    file.take(MOST_KEPT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn listens(socket: impl AsFd) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(socket)?)
}

fn describe(descriptor: &FileDescriptor) -> &'static str {
    if descriptor.is_inet() {
        "an internet socket that is not TCP"
    } else if descriptor.is_unix() {
        "a Unix socket that is not a stream"
    } else if descriptor.is_fifo() {
        "a FIFO"
    } else if descriptor.is_mq() {
        "a message queue"
    } else if descriptor.is_special() {
        "a file"
    } else {
        "of an unknown kind"
    }
}

/// The socket that an error is about.
struct NamedSocket {
    index: usize,
    name: String,
}

impl NamedSocket {
    fn unknown(self) -> InheritError {
        InheritError::UnknownName { index: self.index, name: self.name }
    }

    fn wrong(self, found: &InheritedSocket, expected: &'static str) -> InheritError {
        InheritError::WrongKind { index: self.index, name: self.name, found: found.kind(), expected }
    }

    fn broken(self, source: io::Error) -> InheritError {
        InheritError::Socket { index: self.index, name: self.name, source }
    }
}

/// The name by which systemd keeps the keys of session tickets.
pub(crate) const TICKETS: &str = "tickets";
const MOST_KEPT: u64 = 4096;
const TCP: &str = "a listening TCP socket (ListenStream=443)";
const UNIX: &str = "a listening Unix stream socket (ListenStream=/run/..)";
const CONNECTED: &str = "a stream socket that does not listen (Accept=yes?)";

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use crate::system::notify;

    use super::*;

    fn tcp() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn unix(dir: &tempfile::TempDir) -> UnixListener {
        UnixListener::bind(dir.path().join("sock")).unwrap()
    }

    fn group(sockets: Vec<(&str, InheritedSocket)>) -> Result<Inherited, InheritError> {
        Inherited::group(sockets.into_iter().map(|(name, socket)| (name.to_owned(), Ok(socket))).collect())
    }

    /// Runs this test again, in a process of its own that thinks systemd started it.
    fn again(test: &str) -> Command {
        let mut child = Command::new("sh");
        // exec keeps the shell's id. Sockets 0 to 2 become 3 to 5, as systemd passes them.
        let script = r#"exec 3<&0 4<&1 5<&2 </dev/null >"$REPORT" 2>&1; export LISTEN_PID=$$; exec "$@""#;
        child.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("PLAY", "child");
        child
    }

    fn is_child() -> bool {
        std::env::var_os("PLAY").is_some()
    }

    fn run(mut child: Command, dir: &tempfile::TempDir) {
        let report = dir.path().join("report");
        let status = child.env("REPORT", &report).status().unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(report).unwrap_or_default());
    }

    #[test]
    fn sockets_are_grouped_by_name_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = vec![
            ("control", InheritedSocket::Unix(unix(&dir))),
            ("https", InheritedSocket::Tcp(tcp())),
            ("http", InheritedSocket::Tcp(tcp())),
            ("https", InheritedSocket::Tcp(tcp())),
        ];
        assert_eq!(group(sockets).unwrap().to_string(), "2 https, 1 http, 1 control");
    }

    #[test]
    fn no_sockets_are_no_error() {
        assert_eq!(group(vec![]).unwrap().to_string(), "0 https, 0 http, 0 control");
    }

    #[test]
    fn grouped_sockets_do_not_block() {
        let inherited = group(vec![("http", InheritedSocket::Tcp(tcp()))]).unwrap();
        assert_eq!(inherited.http[0].accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error =
            group(vec![("http", InheritedSocket::Tcp(tcp())), ("rip.socket", InheritedSocket::Tcp(tcp()))])
                .unwrap_err();
        let expected = "socket 1 from systemd is called `rip.socket`: expected `https`, `http` or `control`";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_socket_of_the_wrong_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let udp = InheritedSocket::Other("an internet socket that is not TCP");
        for (name, socket, text) in [
            ("https", InheritedSocket::Unix(unix(&dir)), format!("is {UNIX}: expected {TCP}")),
            ("control", InheritedSocket::Tcp(tcp()), format!("is {TCP}: expected {UNIX}")),
            ("http", udp, format!("is an internet socket that is not TCP: expected {TCP}")),
        ] {
            let error = group(vec![(name, socket)]).unwrap_err();
            assert_eq!(error.to_string(), format!("socket 0 from systemd is called `{name}` but {text}"));
        }
    }

    #[test]
    fn sockets_of_a_parent_process_are_taken_by_name() {
        if is_child() {
            let inherited = Inherited::take().unwrap();
            assert_eq!(inherited.to_string(), "1 https, 1 http, 1 control");
            // Each socket has its own name and is nonblocking: a client waits at the first one only.
            inherited.https[0].accept().unwrap();
            assert_eq!(inherited.http[0].accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(inherited.control[0].accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(Inherited::take().unwrap().to_string(), "0 https, 0 http, 0 control");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let https = tcp();
        let _client = std::net::TcpStream::connect(https.local_addr().unwrap()).unwrap();
        let mut child = again("system::sd::tests::sockets_of_a_parent_process_are_taken_by_name");
        child.stdin(Stdio::from(OwnedFd::from(unix(&dir))));
        child.stdout(Stdio::from(OwnedFd::from(https)));
        child.stderr(Stdio::from(OwnedFd::from(tcp())));
        child.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", "control:https:http");
        run(child, &dir);
        assert!(dir.path().join("sock").exists());
    }

    #[test]
    fn sockets_without_enough_names_are_refused() {
        if is_child() {
            let expected = "3 sockets were passed with 1 names: set FileDescriptorName= in each socket unit, or all \
                            of LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES";
            assert_eq!(Inherited::take().unwrap_err().to_string(), expected);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut child = again("system::sd::tests::sockets_without_enough_names_are_refused");
        child.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", "https");
        run(child, &dir);
    }

    #[test]
    fn what_does_not_listen_is_called_by_its_kind() {
        if is_child() {
            let expected = format!("socket 0 from systemd is called `https` but is a file: expected {TCP}");
            assert_eq!(Inherited::take().unwrap_err().to_string(), expected);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut child = again("system::sd::tests::what_does_not_listen_is_called_by_its_kind");
        child.stdin(File::create(dir.path().join("file")).unwrap());
        child.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "https");
        run(child, &dir);
    }

    #[test]
    fn a_connected_socket_is_not_taken_for_a_listener() {
        if is_child() {
            let error = Inherited::take().unwrap_err().to_string();
            assert!(error.contains("is a stream socket that does not listen (Accept=yes?)"), "{error}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let listener = tcp();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut child = again("system::sd::tests::a_connected_socket_is_not_taken_for_a_listener");
        child.stdin(Stdio::from(OwnedFd::from(client)));
        child.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "https");
        run(child, &dir);
    }

    #[test]
    fn systemd_reads_what_it_is_told() {
        if is_child() {
            notify::ready("serving\nMAINPID=1");
            notify::reloading();
            notify::watchdog();
            notify::extend_timeout(Duration::from_secs(2));
            notify::extend_timeout(Duration::MAX);
            notify::status("2 apps");
            notify::stopping("draining");
            assert_eq!(notify::main_watchdog_interval(), Some(Duration::from_secs(10)));
            // As at the program's end, a thread of its own writes, and a busy machine may delay it for long.
            (0..60).for_each(|_| notify::flush());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut child = again("system::sd::tests::systemd_reads_what_it_is_told");
        child.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000000");
        run(child, &dir);

        let next = || {
            let mut message = [0; 256];
            let length = systemd.recv(&mut message).unwrap();
            String::from_utf8(message[..length].to_vec()).unwrap()
        };
        assert_eq!(next(), "READY=1\nSTATUS=serving MAINPID=1\n");
        let reload = next();
        let usec = reload.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.trim_end().parse::<u64>().unwrap() > 0);
        assert_eq!(next(), "WATCHDOG=1\n");
        assert_eq!(next(), "EXTEND_TIMEOUT_USEC=2000000\n");
        assert_eq!(next(), "EXTEND_TIMEOUT_USEC=4294967295\n");
        assert_eq!(next(), "STATUS=2 apps\n");
        assert_eq!(next(), "STOPPING=1\nSTATUS=draining\n");
    }
}
