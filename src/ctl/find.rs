//! Owns where a server's control socket is looked for, and which one is meant.
//!
//! Never here: talking to the server.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::trouble::{Exit, HOW_TO_START, Trouble};
use crate::name::InstanceName;

/// Where sockets may be on this machine, for this user.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Folders that hold a `NAME.sock` for each instance.
    pub(super) folders: Vec<PathBuf>,
    /// The socket of the server whose run-time folder the environment names.
    pub(super) named: Option<PathBuf>,
}

impl Places {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let mut folders = vec![PathBuf::from("/run/rip-server")];
        for folder in
            [env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(format!("/run/user/{uid}").into())]
                .into_iter()
                .flatten()
                .map(|dir| dir.join("rip-server"))
        {
            if folder.is_absolute() && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let named =
            env::var_os("RIP_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(|dir| beside(Path::new(&dir)));
        Self { folders, named }
    }

    /// The socket of the one server that is meant.
    ///
    /// # Errors
    /// When none is there, when the only one is not ours to use, and when several answer: then it lists them.
    pub(super) fn find(&self, instance: Option<&InstanceName>) -> Result<PathBuf, Trouble> {
        let candidates = match instance {
            Some(name) => self.of_instance(name),
            None => self.all(),
        };
        let mut live = Vec::new();
        let mut refused = None;
        for socket in candidates {
            match UnixStream::connect(&socket) {
                Ok(_) => live.push(socket),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    refused.get_or_insert_with(|| Trouble::connecting(&socket, &error));
                }
                Err(_) => {}
            }
        }
        match (live.len(), refused) {
            (1, _) => Ok(live.remove(0)),
            (0, Some(refused)) => Err(refused),
            (0, None) => Err(self.nothing(instance)),
            (_, _) => Err(several(&live, instance)),
        }
    }

    fn of_instance(&self, name: &InstanceName) -> BTreeSet<PathBuf> {
        let file = format!("{name}.sock");
        self.folders.iter().map(|folder| folder.join(&file)).chain(self.named.clone()).collect()
    }

    fn all(&self) -> BTreeSet<PathBuf> {
        let entries = self.folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let sockets =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sock"));
        sockets.chain(self.named.clone()).collect()
    }

    fn nothing(&self, instance: Option<&InstanceName>) -> Trouble {
        let what = match instance {
            Some(name) => format!("no server answers for instance `{name}`"),
            None => "no running server found".into(),
        };
        let places: Vec<_> =
            self.folders.iter().chain(&self.named).map(|path| path.display().to_string()).collect();
        let message = format!("{what}: looked in {}", places.join(", "));
        Trouble::new(Exit::Unreachable, "unreachable", message).hint(HOW_TO_START)
    }
}

fn several(live: &[PathBuf], instance: Option<&InstanceName>) -> Trouble {
    let list: Vec<_> = live.iter().map(|path| path.display().to_string()).collect();
    let message = format!("{} servers answer: {}", live.len(), list.join(", "));
    let names: Vec<_> =
        live.iter().filter_map(|path| path.file_stem()).map(|name| name.to_string_lossy()).collect();
    let hint = match instance {
        Some(_) => "say which one is meant by --socket PATH".to_owned(),
        None => format!("say which one is meant by --instance NAME: {}", names.join(", ")),
    };
    Trouble::new(Exit::Usage, "ambiguous", message).hint(hint)
}

/// The control socket stands beside the run-time folder, not inside: a service manager may empty that one.
fn beside(runtime_dir: &Path) -> PathBuf {
    let trimmed: PathBuf = runtime_dir.components().collect();
    let mut socket = trimmed.into_os_string();
    socket.push(".sock");
    socket.into()
}

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
            for folder in ["system", "user"] {
                fs::create_dir(dir.path().join(folder)).unwrap();
            }
            let servers =
                live.iter().map(|name| UnixListener::bind(dir.path().join(name)).unwrap()).collect();
            Self { dir, servers }
        }

        fn places(&self) -> Places {
            let folders = vec![self.path("system"), self.path("user"), self.path("missing")];
            Places { folders, named: Some(beside(&self.path("named/"))) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn find(&self, instance: Option<&str>) -> Result<PathBuf, Trouble> {
            self.places().find(instance.map(|name| InstanceName::parse(name).unwrap()).as_ref())
        }
    }

    #[test]
    fn the_only_server_that_answers_is_taken() {
        for socket in ["system/api.sock", "user/blog.sock", "named.sock"] {
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
        let machine = Machine::with(&["system/api.sock", "user/blog.sock"]);

        let trouble = machine.find(None).unwrap_err();

        let (api, blog) = (machine.path("system/api.sock"), machine.path("user/blog.sock"));
        let message = format!("2 servers answer: {}, {}", api.display(), blog.display());
        let expected = Trouble::new(Exit::Usage, "ambiguous", message)
            .hint("say which one is meant by --instance NAME: api, blog");
        assert_eq!(trouble, expected);
    }

    #[test]
    fn an_instance_is_found_by_name_in_any_folder() {
        let machine = Machine::with(&["system/api.sock", "user/blog.sock"]);

        assert_eq!(machine.find(Some("api")), Ok(machine.path("system/api.sock")));
        assert_eq!(machine.find(Some("blog")), Ok(machine.path("user/blog.sock")));
    }

    #[test]
    fn one_name_in_two_folders_is_not_guessed_at() {
        let machine = Machine::with(&["system/api.sock", "user/api.sock"]);

        let trouble = machine.find(Some("api")).unwrap_err();

        assert_eq!(trouble.exit, Exit::Usage);
        assert_eq!(trouble.text.hint.as_deref(), Some("say which one is meant by --socket PATH"));
    }

    #[test]
    fn nothing_found_says_where_was_looked_and_how_to_start_one() {
        let machine = Machine::with(&[]);
        let looked =
            ["system", "user", "missing", "named.sock"].map(|name| machine.path(name).display().to_string());

        for (instance, what) in
            [(None, "no running server found"), (Some("api"), "no server answers for instance `api`")]
        {
            let trouble = machine.find(instance).unwrap_err();
            assert_eq!(trouble.exit, Exit::Unreachable);
            assert_eq!(trouble.text.message, format!("{what}: looked in {}", looked.join(", ")));
            assert_eq!(trouble.text.hint.as_deref(), Some(HOW_TO_START));
        }
    }
}
