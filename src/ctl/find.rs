//! Owns the search for a server's control socket, and the choice of the one that is meant.
//!
//! Never here: talking to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{CtlError, Exit, HOW_TO_START};
use super::stopped_server::{self, StoppedServer};
use crate::name::InstanceName;

/// The places where sockets may be on this machine, for this user.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketPlaces {
    /// Folders that have a `NAME.sock` for each instance.
    pub(super) folders: Vec<PathBuf>,
    /// The folder that has a `NAME/run.sock` for each instance, for users without a run-time folder.
    pub(super) states: Option<PathBuf>,
    /// The sockets of the server whose folders the environment names.
    pub(super) named: Vec<PathBuf>,
}

impl SocketPlaces {
    /// The places that the environment names.
    pub(super) fn of_environment() -> Self {
        let set = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let absolute = |name| set(name).filter(|path| path.is_absolute());
        let uid = rustix::process::getuid().as_raw();

        let mut folders = vec![PathBuf::from("/run/rip-server")];
        for base in absolute("XDG_RUNTIME_DIR").into_iter().chain([format!("/run/user/{uid}").into()]) {
            let folder = base.join("rip-server");
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let home = || Some(absolute("HOME")?.join(".local/state"));
        let states = absolute("XDG_STATE_HOME").or_else(home).map(|states| states.join("rip-server"));
        let of_runtime = set("RIP_RUNTIME_DIR").map(|dir| beside(&dir));
        let of_state = set("RIP_STATE_DIR").map(|dir| dir.join(IN_STATE));
        Self { folders, states, named: of_runtime.into_iter().chain(of_state).collect() }
    }

    /// The socket of the one server that is meant; starts none.
    ///
    /// # Errors
    /// When there is none, when the user may not use the only one, and when several answer, with a list of them.
    pub(super) fn find(&self, instance: Option<&InstanceName>) -> Result<FoundServer, CtlError> {
        let candidates: Vec<_> = match instance {
            Some(name) => self.of_instance(name).into_iter().collect(),
            None => self.all().into_iter().collect(),
        };
        match (self.one_of(candidates, instance), instance) {
            // The same app may have its dashes written the other way.
            (Err(error), Some(name)) if error.exit == Exit::Unreachable => {
                let spelled = self.all().into_iter().filter(|socket| {
                    let other = name_of(socket).and_then(|other| InstanceName::parse(&other).ok());
                    other.is_some_and(|other| other != *name && other.is_spelled_as(name))
                });
                match self.one_of(spelled.collect(), None) {
                    Err(other) if other.exit == Exit::Unreachable => Err(error),
                    found => found,
                }
            }
            (found, _) => found,
        }
    }

    fn one_of(
        &self,
        candidates: Vec<PathBuf>,
        instance: Option<&InstanceName>,
    ) -> Result<FoundServer, CtlError> {
        let mut sleeping = stopped_server::behind(&candidates);
        let mut live = Vec::new();
        let mut refused = None;
        for socket in candidates {
            if sleeping.contains_key(&socket) {
                continue;
            }
            match knock(&socket) {
                // The queue is full: somebody listens, if slowly.
                Ok(()) | Err(Errno::AGAIN) => live.push(socket),
                Err(errno @ Errno::ACCESS) => {
                    refused.get_or_insert_with(|| CtlError::connecting(&socket, &errno.into()));
                }
                Err(_) => {}
            }
        }
        match (live.len(), sleeping.len(), refused) {
            (1, _, _) => Ok(FoundServer::Running(live.remove(0))),
            (0, 1, None) => Ok(FoundServer::Stopped(sleeping.pop_first().expect("there is one").1)),
            (0, _, Some(refused)) => Err(refused),
            (0, 0, None) => Err(self.nothing(instance)),
            (0, _, None) => Err(all_asleep(&sleeping)),
            (_, _, _) => Err(several(&live, instance)),
        }
    }

    /// The paths where the socket of an instance may be.
    pub(super) fn of_instance(&self, name: &InstanceName) -> BTreeSet<PathBuf> {
        let file = format!("{name}.sock");
        let state = self.states.iter().map(|states| states.join(name.as_str()).join(IN_STATE));
        self.folders.iter().map(|folder| folder.join(&file)).chain(state).chain(self.named.clone()).collect()
    }

    /// The path of every socket that may be a server's; none is connected to.
    pub(super) fn all(&self) -> BTreeSet<PathBuf> {
        let sockets = self.folders.iter().flat_map(|folder| entries(folder));
        let sockets = sockets.filter(|path| path.extension().is_some_and(|extension| extension == "sock"));
        let states = self.states.iter().flat_map(|states| entries(states)).map(|state| state.join(IN_STATE));
        sockets.chain(states).chain(self.named.clone()).collect()
    }

    fn nothing(&self, instance: Option<&InstanceName>) -> CtlError {
        let what = match instance {
            Some(name) => format!("no server answers for instance `{name}`"),
            None => "no running server found".into(),
        };
        let message =
            format!("{what}: looked in {}", list(self.folders.iter().chain(&self.states).chain(&self.named)));
        if let Some(failed) = instance.and_then(stopped_server::failed) {
            return failed.error();
        }
        let hint = match instance {
            Some(name) if Path::new(PACKAGED).exists() => {
                format!(
                    "start it with `systemctl start 'rip-server@{name}'`, or one by hand with `rip-server APP`"
                )
            }
            _ => HOW_TO_START.to_owned(),
        };
        CtlError::new(Exit::Unreachable, "unreachable", message).hint(hint)
    }
}

/// The server that is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundServer {
    /// The server runs; its control socket.
    Running(PathBuf),
    /// The server does not run, and a connection would start it.
    Stopped(StoppedServer),
}

/// The server behind a socket that the user names.
pub(super) fn behind(socket: &Path) -> FoundServer {
    let sleeping = stopped_server::behind(&[socket.to_owned()]).pop_first();
    sleeping
        .map_or_else(|| FoundServer::Running(socket.to_owned()), |(_, server)| FoundServer::Stopped(server))
}

/// Connects to the socket without waiting, in case the server hangs.
fn knock(socket: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(socket)?)
}

fn several(live: &[PathBuf], instance: Option<&InstanceName>) -> CtlError {
    let message = format!("{} servers answer: {}", live.len(), list(live));
    let hint = match instance {
        Some(_) => "say which one is meant by --socket PATH".to_owned(),
        None => {
            let names: Vec<_> = live.iter().filter_map(|socket| name_of(socket)).collect();
            format!("say which one is meant by --instance NAME: {}", names.join(", "))
        }
    };
    CtlError::new(Exit::Usage, "ambiguous", message).hint(hint)
}

fn all_asleep(sleeping: &BTreeMap<PathBuf, StoppedServer>) -> CtlError {
    let units: Vec<_> = sleeping.values().map(|server| server.unit.trim_end_matches(".service")).collect();
    let message = format!("no server runs; stopped are {}", units.join(", "));
    CtlError::new(Exit::Unreachable, "not-running", message).hint("start one with `systemctl start`")
}

fn list<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> String {
    paths.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The entries of a folder; one that is missing or not readable has none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The instance whose socket this is.
pub(super) fn name_of(socket: &Path) -> Option<String> {
    let name = if socket.ends_with(IN_STATE) { socket.parent()?.file_name() } else { socket.file_stem() };
    Some(name?.to_string_lossy().into_owned())
}

/// The control socket beside a run-time folder: a service manager may empty the folder, so that the socket is not in
/// it.
fn beside(runtime_dir: &Path) -> PathBuf {
    let trimmed: PathBuf = runtime_dir.components().collect();
    let mut socket = trimmed.into_os_string();
    socket.push(".sock");
    socket.into()
}

const PACKAGED: &str = "/usr/lib/systemd/system/rip-server@.service";
/// The socket beside `run`, the run-time folder in a state folder.
const IN_STATE: &str = "run.sock";

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Machine {
        dir: tempfile::TempDir,
        servers: Vec<UnixListener>,
    }

    impl Machine {
        fn with(live: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["system", "user", "states/blog"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            let servers =
                live.iter().map(|name| UnixListener::bind(dir.path().join(name)).unwrap()).collect();
            Self { dir, servers }
        }

        fn places(&self) -> SocketPlaces {
            let folders = vec![self.path("system"), self.path("user"), self.path("missing")];
            SocketPlaces {
                folders,
                states: Some(self.path("states")),
                named: vec![beside(&self.path("named/"))],
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn find(&self, instance: Option<&str>) -> Result<PathBuf, CtlError> {
            let instance = instance.map(|name| InstanceName::parse(name).unwrap());
            match self.places().find(instance.as_ref())? {
                FoundServer::Running(socket) => Ok(socket),
                FoundServer::Stopped(server) => panic!("{server:?}"),
            }
        }
    }

    #[test]
    fn the_only_server_that_answers_is_taken() {
        for socket in ["system/api.sock", "user/blog.sock", "states/blog/run.sock", "named.sock"] {
            let machine = Machine::with(&[socket]);
            assert_eq!(machine.find(None), Ok(machine.path(socket)));
        }
    }

    #[test]
    fn a_socket_left_behind_does_not_count() {
        let mut machine = Machine::with(&["system/gone.sock"]);
        machine.servers.clear();
        machine.servers.push(UnixListener::bind(machine.path("user/api.sock")).unwrap());

        assert_eq!(machine.find(None), Ok(machine.path("user/api.sock")));
    }

    #[test]
    fn several_servers_are_listed_with_what_to_say() {
        let machine = Machine::with(&["system/api.sock", "states/blog/run.sock"]);

        let error = machine.find(None).unwrap_err();

        let (api, blog) = (machine.path("system/api.sock"), machine.path("states/blog/run.sock"));
        let message = format!("2 servers answer: {}, {}", blog.display(), api.display());
        let expected = CtlError::new(Exit::Usage, "ambiguous", message)
            .hint("say which one is meant by --instance NAME: blog, api");
        assert_eq!(error, expected);
    }

    #[test]
    fn an_instance_is_found_by_name_in_any_folder() {
        let machine = Machine::with(&["system/api.sock", "states/blog/run.sock"]);

        assert_eq!(machine.find(Some("api")), Ok(machine.path("system/api.sock")));
        assert_eq!(machine.find(Some("blog")), Ok(machine.path("states/blog/run.sock")));
    }

    #[test]
    fn an_instance_is_found_by_either_way_to_write_its_dashes() {
        let machine = Machine::with(&["system/my\\x2dapp.sock"]);
        assert_eq!(machine.find(Some("my-app")), Ok(machine.path("system/my\\x2dapp.sock")));
        let machine = Machine::with(&["system/my-app.sock"]);
        assert_eq!(machine.find(Some("my\\x2dapp")), Ok(machine.path("system/my-app.sock")));
        let both = Machine::with(&["system/my-app.sock", "system/my\\x2dapp.sock"]);
        assert_eq!(both.find(Some("my-app")), Ok(both.path("system/my-app.sock")));
        assert_eq!(machine.find(Some("my-apps")).unwrap_err().exit, Exit::Unreachable);
    }

    #[test]
    fn one_name_in_two_folders_is_not_guessed_at() {
        let machine = Machine::with(&["system/api.sock", "user/api.sock"]);

        let error = machine.find(Some("api")).unwrap_err();

        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(error.text.hint.as_deref(), Some("say which one is meant by --socket PATH"));
    }

    #[test]
    fn nothing_found_says_where_was_looked_and_how_to_start_one() {
        let machine = Machine::with(&[]);
        let looked = ["system", "user", "missing", "states", "named.sock"]
            .map(|name| machine.path(name).display().to_string());

        for (instance, what) in
            [(None, "no running server found"), (Some("api"), "no server answers for instance `api`")]
        {
            let error = machine.find(instance).unwrap_err();
            assert_eq!(error.exit, Exit::Unreachable);
            assert_eq!(error.text.message, format!("{what}: looked in {}", looked.join(", ")));
            assert_eq!(error.text.hint.as_deref(), Some(HOW_TO_START));
        }
    }
}
