//! Where a server's files are: run-time folder, state folder and control socket, as service, as root or as a user.
//!
//! Never in `/tmp`: anybody could be there first. Never here: making the folders.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, MAX_SOCKET_PATH};
use super::layer::Stack;
use super::machine::ProcessContext;
use super::value_origin::{Sourced, ValueOrigin};
use crate::spec::settings::table::Id;

/// A server's folders and its control socket, absolute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folders {
    pub(crate) runtime: Sourced<PathBuf>,
    pub(crate) state: Sourced<PathBuf>,
    pub(crate) control: PathBuf,
}

impl Folders {
    /// The folders of a server that is to run.
    ///
    /// # Errors
    /// When there is no place for them, or a socket's path would be too long.
    pub(crate) fn of_server(
        machine: &ProcessContext,
        stack: &Stack<'_>,
        name: &str,
    ) -> Result<Self, ConfigError> {
        let state = state(machine, stack, name)?;
        let runtime = match said(machine, stack, Id::RuntimeDir, "RUNTIME_DIRECTORY") {
            Some(runtime) => runtime,
            None => by_default(runtime_base(machine).map_or(state.value.join("run"), |base| base.join(name))),
        };
        Self::checked(runtime, state, stack.told::<String>(Id::SocketPrefix).as_deref())
    }

    /// The folders of a running server, for its client: the first place where its control socket is.
    ///
    /// # Errors
    /// As [`Folders::of_server`].
    pub(crate) fn of_client(
        machine: &ProcessContext,
        stack: &Stack<'_>,
        name: &str,
    ) -> Result<Self, ConfigError> {
        let mut folders = Self::of_server(machine, stack, name)?;
        if folders.runtime.origin == ValueOrigin::Default && !folders.control.exists() {
            let services = machine.run.join("rip-server").join(name);
            if beside(&services).is_some_and(|socket| socket.exists()) {
                folders = Self::checked(by_default(services), folders.state, None)?;
            }
        }
        Ok(folders)
    }

    fn checked(
        runtime: Sourced<PathBuf>,
        state: Sourced<PathBuf>,
        prefix: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let control = beside(&runtime.value).ok_or_else(|| ConfigError::NoFolder {
            what: "the control socket".into(),
            why: format!(
                "it stands beside the run-time folder, and nothing does beside {}",
                runtime.value.display()
            ),
        })?;
        fits(&control)?;
        let prefix = prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default();
        fits(&runtime.value.join(format!("w/{prefix}99999999.sock")))?;
        Ok(Self { runtime, state, control })
    }
}

/// The names of the servers that answer where this user would look, sorted.
pub(crate) fn running(machine: &ProcessContext) -> Vec<String> {
    let bases = runtime_base(machine).into_iter().chain([machine.run.join("rip-server")]);
    let beside = bases.flat_map(entries).filter(|path| path.extension() == Some(OsStr::new("sock")));
    let within = state_base(machine).into_iter().flat_map(entries).map(|folder| folder.join("run.sock"));
    let name = |socket: &Path| match socket.file_stem()?.to_str()? {
        "run" => Some(socket.parent()?.file_name()?.to_str()?.to_owned()),
        name => Some(name.to_owned()),
    };
    let alive = |socket: &PathBuf| UnixStream::connect(socket).is_ok();
    let mut names: Vec<_> = beside.chain(within).filter(alive).filter_map(|socket| name(&socket)).collect();
    names.sort();
    names.dedup();
    names
}

fn state(machine: &ProcessContext, stack: &Stack<'_>, name: &str) -> Result<Sourced<PathBuf>, ConfigError> {
    if let Some(state) = said(machine, stack, Id::StateDir, "STATE_DIRECTORY") {
        return Ok(state);
    }
    if machine.is_root() {
        return Ok(by_default(machine.lib.join("rip-server").join(name)));
    }
    match state_base(machine) {
        Some(base) => Ok(by_default(base.join(name))),
        None => Err(ConfigError::NoFolder {
            what: "registry and certificates".into(),
            why: "neither $XDG_STATE_HOME nor $HOME is set; say --state-dir=DIR".into(),
        }),
    }
}

/// The folder below which a user's servers keep their state.
fn state_base(machine: &ProcessContext) -> Option<PathBuf> {
    let below_home = || Some(home(machine, "HOME")?.join(".local/state"));
    Some(home(machine, "XDG_STATE_HOME").or_else(below_home)?.join("rip-server"))
}

fn entries(folder: PathBuf) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn runtime_base(machine: &ProcessContext) -> Option<PathBuf> {
    if machine.is_root() {
        return Some(machine.run.join("rip-server"));
    }
    let of_user =
        || Some(machine.run.join(format!("user/{}", machine.user))).filter(|folder| folder.is_dir());
    Some(home(machine, "XDG_RUNTIME_DIR").or_else(of_user)?.join("rip-server"))
}

/// The folder that a person named, else the one that systemd made for the service.
fn said(machine: &ProcessContext, stack: &Stack<'_>, id: Id, variable: &str) -> Option<Sourced<PathBuf>> {
    if let Some(there) = stack.find::<PathBuf>(id) {
        return Some(Sourced { value: machine.anchored(&there.value), origin: there.origin });
    }
    let first = machine.variable(variable)?.as_bytes().split(|b| *b == b':').next()?;
    let value = Path::new(OsStr::from_bytes(first)).to_owned();
    value.is_absolute().then(|| Sourced { value, origin: ValueOrigin::Env(variable.into()) })
}

/// A folder that a variable names; relative paths do not count (XDG Base Directory Specification).
fn home(machine: &ProcessContext, variable: &str) -> Option<PathBuf> {
    machine.variable(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
}

fn by_default(value: PathBuf) -> Sourced<PathBuf> {
    Sourced { value, origin: ValueOrigin::Default }
}

fn beside(runtime: &Path) -> Option<PathBuf> {
    let mut name = runtime.file_name()?.to_owned();
    name.push(".sock");
    Some(runtime.with_file_name(name))
}

fn fits(socket: &Path) -> Result<(), ConfigError> {
    let length = socket.as_os_str().len();
    if length <= MAX_SOCKET_PATH {
        Ok(())
    } else {
        Err(ConfigError::LongSocket { path: socket.into(), length })
    }
}

#[cfg(test)]
mod tests {
    use super::super::layer::Layer;
    use super::*;
    use crate::spec::settings::setting_value::SettingValue;

    fn machine(user: u32, variables: &[(&str, &str)]) -> ProcessContext {
        ProcessContext {
            variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            directory: "/here".into(),
            user,
            etc: "/nowhere/etc".into(),
            apps: "/nowhere/srv".into(),
            run: "/nowhere/run".into(),
            lib: "/nowhere/lib".into(),
        }
    }

    fn folders(machine: &ProcessContext, layer: &Layer) -> Result<Folders, String> {
        Folders::of_server(machine, &Stack::new([layer]), "blog").map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_where_the_system_keeps_them() {
        for (user, variables, runtime, state) in [
            (0, vec![], "/nowhere/run/rip-server/blog", "/nowhere/lib/rip-server/blog"),
            (
                1000,
                vec![("XDG_RUNTIME_DIR", "/x/run"), ("XDG_STATE_HOME", "/x/state")],
                "/x/run/rip-server/blog",
                "/x/state/rip-server/blog",
            ),
            (
                1000,
                vec![("HOME", "/h")],
                "/h/.local/state/rip-server/blog/run",
                "/h/.local/state/rip-server/blog",
            ),
            (
                1000,
                vec![("HOME", "/h"), ("XDG_STATE_HOME", "relative"), ("XDG_RUNTIME_DIR", "")],
                "/h/.local/state/rip-server/blog/run",
                "/h/.local/state/rip-server/blog",
            ),
            (
                997,
                vec![
                    ("RUNTIME_DIRECTORY", "/run/rip-server/b:/run/other"),
                    ("STATE_DIRECTORY", "/var/lib/rip-server/b"),
                ],
                "/run/rip-server/b",
                "/var/lib/rip-server/b",
            ),
        ] {
            let found = folders(&machine(user, &variables), &Layer::default()).unwrap();
            assert_eq!(found.runtime.value, Path::new(runtime), "{variables:?}");
            assert_eq!(found.state.value, Path::new(state), "{variables:?}");
            assert_eq!(found.control, Path::new(&format!("{runtime}.sock")), "{variables:?}");
        }
    }

    #[test]
    fn what_was_said_wins_and_starts_in_the_working_directory() {
        let mut layer = Layer::default();
        layer.put(
            Id::RuntimeDir,
            SettingValue::Path("r".into()),
            ValueOrigin::Flag("--runtime-dir=r".into()),
        );
        layer.put(Id::StateDir, SettingValue::Path("../s".into()), ValueOrigin::Env("RIP_STATE_DIR".into()));
        let found = folders(&machine(0, &[("RUNTIME_DIRECTORY", "/run/x")]), &layer).unwrap();
        assert_eq!(found.runtime.value, Path::new("/here/r"));
        assert_eq!(found.state.value, Path::new("/s"));
        assert_eq!(found.control, Path::new("/here/r.sock"));
    }

    #[test]
    fn without_any_place_it_says_so() {
        assert_eq!(
            folders(&machine(1000, &[]), &Layer::default()).unwrap_err(),
            "no place for registry and certificates: neither $XDG_STATE_HOME nor $HOME is set; say --state-dir=DIR"
        );
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let machine = machine(0, &[]);
        let with = |length: usize| {
            let mut layer = Layer::default();
            let path = format!("/{}", "r".repeat(length - 1));
            layer.put(Id::RuntimeDir, SettingValue::Path(path.into()), ValueOrigin::Flag(String::new()));
            folders(&machine, &layer)
        };
        // The longest path of a socket in the folder ends in `/w/99999999.sock`, 16 bytes.
        assert!(with(MAX_SOCKET_PATH - 16).is_ok());
        let error = with(MAX_SOCKET_PATH - 15).unwrap_err();
        assert!(
            error.ends_with("may have 107 bytes, this one has 108: choose a shorter --runtime-dir"),
            "{error}"
        );
    }

    #[test]
    fn nothing_stands_beside_the_root() {
        let mut layer = Layer::default();
        layer.put(Id::RuntimeDir, SettingValue::Path("/".into()), ValueOrigin::Flag(String::new()));
        assert!(folders(&machine(0, &[]), &layer).unwrap_err().contains("nothing does beside /"));
    }
}
