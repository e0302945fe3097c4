//! Owns what a server may ask for: pure checks of a request against the admin's settings and the file system as it is.
//!
//! Never here: who asks, or carrying the request out.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use crate::backend::Signal;
use crate::backend::systemd::dbus::StartRequest;
use crate::backend::systemd::hidden_paths;
use crate::config::instance;
use crate::config::sandbox::Admin;
use crate::name::{AppName, InstanceName};

/// Why a request is refused, for the caller and the journal alike.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartRefusal {
    #[error("`{0}` is no app's name")]
    App(String),
    #[error("worker and generation are counted from 1")]
    Number,
    #[error(
        "the directory {0} is refused: expected the path of a folder, without links, dots, quotes, `%`, `:` and `\\`"
    )]
    Directory(String),
    #[error("the directory {directory} is refused: apps of this instance may lie in {allowed}{how}")]
    Foreign { directory: String, allowed: String, how: String },
    #[error("the user `{user}` is refused: {why}")]
    User { user: String, why: &'static str },
    #[error("the command is refused: {0}")]
    Command(&'static str),
    #[error(
        "the variable {0:?} is refused: expected a name of letters, digits and `_`, and a value without zero bytes"
    )]
    Variable(String),
    #[error("the listener is refused: expected one listening Unix stream socket, or none")]
    Listener,
    #[error("a time of {0} µs from SIGTERM to SIGKILL is refused: expected at most a day")]
    KillAfter(u64),
    #[error("the signal `{0}` is refused: expected KILL, HUP, USR1 or USR2")]
    Signal(String),
}

/// The app of an allowed worker, and the one app folder that the worker sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) app: AppName,
    pub(super) visible: PathBuf,
}

/// Checks all that can be checked without another process; `passwd` is passwd(5).
pub(super) fn request(
    request: &StartRequest,
    instance: &InstanceName,
    admin: &Admin,
    passwd: &Path,
) -> Result<Allowed, StartRefusal> {
    if request.worker == 0 || request.generation == 0 {
        return Err(StartRefusal::Number);
    }
    let app = app_name(&request.app)?;
    command(&request.command)?;
    request.environment.iter().try_for_each(|(name, value)| variable(name, value))?;
    if request.environment.len() > MOST_VARIABLES || !is_plain(&request.fingerprint) {
        return Err(StartRefusal::Variable("RIP_LAUNCH".into()));
    }
    if request.kill_after > LONGEST_KILL {
        return Err(StartRefusal::KillAfter(request.kill_after));
    }
    if let Some(name) = &admin.sandbox.user {
        user(name, passwd)?;
    }
    let visible = directory(&request.directory, instance, admin)?;
    Ok(Allowed { app, visible })
}

pub(super) fn app_name(text: &str) -> Result<AppName, StartRefusal> {
    AppName::parse(text).map_err(|_| StartRefusal::App(text.chars().take(64).collect()))
}

/// The signal of that name, if a server may send it.
pub(super) fn signal(name: &str) -> Result<Signal, StartRefusal> {
    Signal::of_name(name).ok_or_else(|| StartRefusal::Signal(name.chars().take(16).collect()))
}

/// Checks that there is one listening Unix stream socket, or none.
pub(super) fn listeners<T: AsFd>(given: &[T]) -> Result<Option<&T>, StartRefusal> {
    match given {
        [] => Ok(None),
        [listener] => {
            let right = socket_domain(listener) == Ok(AddressFamily::UNIX)
                && socket_type(listener) == Ok(SocketType::STREAM)
                && socket_acceptconn(listener) == Ok(true);
            if right { Ok(Some(listener)) } else { Err(StartRefusal::Listener) }
        }
        _ => Err(StartRefusal::Listener),
    }
}

/// The folder of the app that `directory` is, or is in; both with links followed.
fn directory(text: &str, instance: &InstanceName, admin: &Admin) -> Result<PathBuf, StartRefusal> {
    let wrong = || StartRefusal::Directory(text.chars().take(256).collect());
    let path = Path::new(text);
    let real = fs::canonicalize(path).map_err(|_: io::Error| wrong())?;
    // The server has followed the links: a path that differs now was changed meanwhile.
    if real != path || !real.is_dir() || !is_plain(text) {
        return Err(wrong());
    }
    let below_root = |root: &PathBuf| {
        let root = fs::canonicalize(root).ok()?;
        let own = match instance::there(&root, instance.as_str()).as_slice() {
            [one] => fs::canonicalize(one).ok(),
            // A server with several listeners is refused, and a request is never widened.
            _ => None,
        };
        let own = own.filter(|own| own.starts_with(&root) && *own != root && real.starts_with(own));
        own.or_else(|| (real.starts_with(&root) && real != root).then(|| real.clone()))
    };
    let named =
        admin.apps.iter().filter_map(|app| hidden_paths::folder(app)).filter(|app| real.starts_with(app));
    // When an app lies in the folder of another, the inner one is meant.
    let found = named.max_by_key(|app| app.as_os_str().len());
    found.or_else(|| admin.sandbox.roots.iter().find_map(below_root)).ok_or_else(|| {
        let all = admin.sandbox.roots.iter().chain(&admin.apps).map(|path| path.display().to_string());
        let how = allowing(&real, instance, admin);
        StartRefusal::Foreign { directory: text.into(), allowed: all.collect::<Vec<_>>().join(", "), how }
    })
}

/// The line that allows a directory, for the admin to write.
fn allowing(real: &Path, instance: &InstanceName, admin: &Admin) -> String {
    let Some(folder) = real.parent().filter(|folder| *folder != Path::new("/")) else {
        return "; an app right below / cannot be let in".into();
    };
    let roots = admin.sandbox.roots.iter().map(PathBuf::as_path).chain([folder]);
    let roots: Vec<String> = roots.map(|root| format!("\"{}\"", root.display())).collect();
    format!(
        "; to allow it, write `roots = [{}]` under [sandbox] of /etc/rip-server/{instance}.toml",
        roots.join(", ")
    )
}

/// Checks that the user owns nothing but apps. Only users of the file are known: others would need the network.
fn user(name: &str, passwd: &Path) -> Result<(), StartRefusal> {
    let refused = |why| StartRefusal::User { user: name.into(), why };
    if name == "rip-server" {
        return Err(refused("it owns the server's keys"));
    }
    let text = fs::read_to_string(passwd).map_err(|_| refused("/etc/passwd cannot be read"))?;
    let mut entries = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let Some(entry) = entries.find(|entry| entry.first() == Some(&name)) else {
        return Err(refused("it is not in /etc/passwd"));
    };
    match (entry.get(2).map(|uid| uid.parse::<u32>()), entry.get(3).map(|gid| gid.parse::<u32>())) {
        (Some(Ok(0)), _) => Err(refused("it is root")),
        (_, Some(Ok(0))) => Err(refused("its group is root's")),
        (Some(Ok(_)), Some(Ok(_))) => Ok(()),
        _ => Err(refused("its line in /etc/passwd cannot be read")),
    }
}

fn command(words: &[String]) -> Result<(), StartRefusal> {
    if words.first().is_none_or(String::is_empty) {
        return Err(StartRefusal::Command("it has no program"));
    }
    if words.len() > MOST_WORDS || words.iter().map(String::len).sum::<usize>() > MOST_BYTES {
        return Err(StartRefusal::Command("it is too long"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(StartRefusal::Command("it has a zero byte in it"));
    }
    Ok(())
}

fn variable(name: &str, value: &str) -> Result<(), StartRefusal> {
    let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let right = named && value.len() <= MOST_BYTES && !value.contains('\0');
    if right { Ok(()) } else { Err(StartRefusal::Variable(name.chars().take(64).collect())) }
}

/// Whether the text has no character that a unit's paths read in their own way.
fn is_plain(text: &str) -> bool {
    text.len() < MOST_PATH
        && text.chars().all(|c| !c.is_control() && !matches!(c, '%' | '"' | '\'' | ':' | '\\'))
        && !text.split('/').any(|part| part == ".." || part == ".")
}

const MOST_VARIABLES: usize = 1000;
const MOST_WORDS: usize = 1000;
const MOST_BYTES: usize = 128 << 10;
const MOST_PATH: usize = 4096;
/// The longest time from SIGTERM to SIGKILL: a day, in microseconds.
const LONGEST_KILL: u64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;
    use crate::config::sandbox;

    /// `/srv/rip` with two apps, and a folder that is none.
    struct Stage {
        dir: tempfile::TempDir,
        admin: Admin,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            for folder in ["rip/labs/api/releases/5", "rip/blog", "rip/back\\", "opt/shop", "etc"] {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            fs::write(root.join("passwd"), "root:x:0:0::/:/bin/sh\nblog:x:1000:1000::/:/bin/sh\nops:x:9:0::/:/bin/sh\nrip-server:x:8:8::/:/bin/sh\n").unwrap();
            let mut admin = sandbox::read(Path::new("/nowhere/x.toml")).unwrap();
            admin.sandbox.roots = vec![root.join("rip")];
            Self { dir, admin }
        }

        fn path(&self, below: &str) -> String {
            self.dir.path().canonicalize().unwrap().join(below).to_str().unwrap().to_owned()
        }

        fn check(&self, request: &StartRequest) -> Result<Allowed, StartRefusal> {
            self.check_of("labs-api", request)
        }

        fn check_of(&self, instance: &str, request: &StartRequest) -> Result<Allowed, StartRefusal> {
            let passwd = PathBuf::from(self.path("passwd"));
            super::request(request, &InstanceName::parse(instance).unwrap(), &self.admin, &passwd)
        }

        fn request(&self) -> StartRequest {
            StartRequest {
                app: "api".into(),
                worker: 1,
                generation: 1,
                directory: self.path("rip/labs/api/releases/5"),
                command: vec!["node".into()],
                environment: HashMap::new(),
                notifies: true,
                binds: false,
                fingerprint: "ab12".into(),
                memory_max: 0,
                kill_after: 5_000_000,
            }
        }
    }

    #[test]
    fn an_app_in_its_place_is_let_through_and_sees_its_own_folder() {
        let stage = Stage::new();
        let allowed = stage.check(&stage.request()).unwrap();
        assert_eq!(allowed.visible, PathBuf::from(stage.path("rip/labs/api")));
        let other = StartRequest { directory: stage.path("rip/blog"), ..stage.request() };
        assert_eq!(stage.check(&other).unwrap().visible, PathBuf::from(stage.path("rip/blog")));
    }

    #[test]
    fn an_instance_with_a_dash_sees_the_folder_that_is_there_and_no_more_where_two_are() {
        let stage = Stage::new();
        fs::create_dir_all(stage.path("rip/my-app/releases/5")).unwrap();
        let request = StartRequest { directory: stage.path("rip/my-app/releases/5"), ..stage.request() };
        for name in ["my-app", r"my\x2dapp"] {
            let allowed = stage.check_of(name, &request).unwrap();
            assert_eq!(allowed.visible, PathBuf::from(stage.path("rip/my-app")), "{name}");
        }
        fs::create_dir_all(stage.path("rip/my/app")).unwrap();
        let allowed = stage.check_of("my-app", &request).unwrap();
        assert_eq!(allowed.visible, PathBuf::from(stage.path("rip/my-app/releases/5")));
    }

    #[test]
    fn a_refusal_has_the_line_that_would_allow_it() {
        let stage = Stage::new();
        let foreign = StartRequest { directory: stage.path("opt/shop"), ..stage.request() };
        let said = stage.check(&foreign).unwrap_err().to_string();
        let line = format!("`roots = [\"{}\", \"{}\"]`", stage.path("rip"), stage.path("opt"));
        assert!(said.contains(&line) && said.contains("/etc/rip-server/labs-api.toml"), "{said}");
    }

    #[test]
    fn foreign_directories_are_refused() {
        let mut stage = Stage::new();
        symlink(stage.path("etc"), stage.path("rip/blog/escape")).unwrap();
        for below in [
            "opt/shop",
            "etc",
            "rip",
            "",
            "rip/blog/escape",
            "rip/blog/../../etc",
            "rip/nothing",
            "rip/back\\",
        ] {
            let request = StartRequest { directory: stage.path(below), ..stage.request() };
            assert!(stage.check(&request).is_err(), "{below}");
        }
        for directory in ["/", "/etc", "/root", "rip/blog", "."] {
            let request = StartRequest { directory: directory.into(), ..stage.request() };
            assert!(stage.check(&request).is_err(), "{directory}");
        }
        stage.admin.apps = vec![PathBuf::from(stage.path("opt/shop"))];
        let named = StartRequest { directory: stage.path("opt/shop"), ..stage.request() };
        assert!(stage.check(&named).is_ok());
    }

    #[test]
    fn users_that_own_more_than_apps_are_refused() {
        let mut stage = Stage::new();
        for (user, fine) in
            [("blog", true), ("root", false), ("ops", false), ("rip-server", false), ("ghost", false)]
        {
            stage.admin.sandbox.user = Some(user.into());
            assert_eq!(stage.check(&stage.request()).is_ok(), fine, "{user}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let stage = Stage::new();
        let right = stage.request();
        let vars = |name: &str, value: &str| HashMap::from([(name.to_owned(), value.to_owned())]);
        let wrongs = [
            StartRequest { app: "a/b".into(), ..right.clone() },
            StartRequest { app: String::new(), ..right.clone() },
            StartRequest { worker: 0, ..right.clone() },
            StartRequest { generation: 0, ..right.clone() },
            StartRequest { command: vec![], ..right.clone() },
            StartRequest { command: vec![String::new()], ..right.clone() },
            StartRequest { command: vec!["a\0".into()], ..right.clone() },
            StartRequest { command: vec!["a".into(); 2000], ..right.clone() },
            StartRequest { environment: vars("A=B", "c"), ..right.clone() },
            StartRequest { environment: vars("", "c"), ..right.clone() },
            StartRequest { environment: vars("A\nB", "c"), ..right.clone() },
            StartRequest { environment: vars("A", "c\0"), ..right.clone() },
            StartRequest { fingerprint: "a\nB=c".into(), ..right.clone() },
            StartRequest { kill_after: u64::MAX, ..right.clone() },
        ];
        for wrong in wrongs {
            assert!(stage.check(&wrong).is_err(), "{wrong:?}");
        }
        assert!(stage.check(&right).is_ok());
    }

    #[test]
    fn a_listener_is_a_listening_unix_stream_socket() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("a")).unwrap();
        let other = UnixListener::bind(dir.path().join("b")).unwrap();
        assert!(listeners::<UnixListener>(&[]).unwrap().is_none());
        assert_eq!(listeners(&[other.try_clone().unwrap(), listener]).err(), Some(StartRefusal::Listener));
        assert!(listeners(&[other]).unwrap().is_some());
        let (connected, _end) = UnixStream::pair().unwrap();
        assert_eq!(listeners(&[connected]).err(), Some(StartRefusal::Listener));
        assert_eq!(listeners(&[UnixDatagram::unbound().unwrap()]).err(), Some(StartRefusal::Listener));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listeners(&[tcp]).err(), Some(StartRefusal::Listener));
        assert_eq!(listeners(&[fs::File::open("/dev/null").unwrap()]).err(), Some(StartRefusal::Listener));
    }

    #[test]
    fn only_some_signals_may_be_sent() {
        let sent = |name| signal(name).map(|signal| (signal.ends(), signal.number().as_raw()));
        assert_eq!(sent("KILL"), Ok((true, 9)));
        assert_eq!(sent("HUP"), Ok((false, 1)));
        for wrong in ["STOP", "9", "kill", ""] {
            assert!(signal(wrong).is_err(), "{wrong}");
        }
    }
}
