//! Owns the start of a worker of the child backend: its sockets, its environment, its shim, and the go.
//!
//! Never here: its process once it runs (`child_process`), or which workers there are (`child_workers`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::child_process::ChildProcess;
use super::child_workers::ChildWorkers;
use super::children::ChildGroup;
use super::procfs::{ExitWatch, oom_kills};
use super::strays::{self, Mark};
use crate::backend::shim::OPEN_FILES;
use crate::backend::sockets::{Door, SocketFile};
use crate::backend::{Order, StartError, Started, WorkerEvent, contract, handover};
use crate::name::GenerationId;
use crate::pool::Address;
use crate::spec::LaunchSpec;
use crate::system::process_setup;
use crate::system::sd::SYSTEMD_ENV;

/// A worker whose shim waits for the go.
pub(super) struct SpawnedWorker {
    order: Order,
    process: Child,
    watch: ExitWatch,
    channel: UnixStream,
    notify: UnixDatagram,
    output: pipe::Receiver,
    door: Door,
    notify_file: SocketFile,
    ooms_before: Option<u64>,
    mark: Mark,
}

impl SpawnedWorker {
    /// Makes the sockets and the process, which only waits.
    pub(super) fn spawn(workers: &ChildWorkers, order: Order) -> Result<Self, StartError> {
        let launch = &order.launch;
        if launch.command.is_empty() {
            return Err(refused(&order, io::Error::new(io::ErrorKind::InvalidInput, "the command is empty")));
        }
        if !launch.directory.is_dir() {
            let text = "the directory does not exist";
            return Err(refused(&order, io::Error::new(io::ErrorKind::NotFound, text)));
        }
        let door = workers.sockets.door_of(&order)?;
        let (notify, notify_file) = workers.sockets.notify(order.worker)?;
        let mark = Mark::new();
        let environment =
            environment(std::env::vars_os(), &order, door.address.as_ref(), &notify_file, &mark);
        let ooms_before = oom_kills();
        match spawn_shim(workers, &order, environment) {
            Ok(Shim { process, watch, channel, output }) => Ok(Self {
                order,
                process,
                watch,
                channel,
                notify,
                output,
                door,
                notify_file,
                ooms_before,
                mark,
            }),
            Err(source) => Err(refused(&order, source)),
        }
    }

    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// The record of the worker's processes and files for the reaper.
    pub(super) fn child_group(&self) -> ChildGroup {
        let files = self.door.file.iter().chain([&self.notify_file]);
        ChildGroup { mark: self.mark.clone(), files: files.map(|file| file.path().to_owned()).collect() }
    }

    /// Watches the worker to its end. `answer` gets whether the program runs; only if it does, events follow.
    pub(super) async fn live(
        mut self,
        workers: Arc<ChildWorkers>,
        answer: oneshot::Sender<Result<Started, StartError>>,
    ) {
        let listener = self.door.listener.take();
        let given = handover::give(&self.channel, listener.as_ref());
        drop(listener);
        let launched = match given {
            Ok(()) => timeout(EXEC_LIMIT, handover::outcome(self.channel)).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "it was not executed in time"))
            }),
            Err(error) => Err(error),
        };
        let (worker, mark) = (self.order.worker, self.mark);
        let mut process = ChildProcess { worker, process: self.process, watch: self.watch, mark };
        if let Err(source) = launched {
            process.end(&workers).await;
            answer.send(Err(refused(&self.order, source))).ok();
            return;
        }
        let started = Started { pid: process.process.id(), address: self.door.address.clone() };
        // A caller that dropped the start still gets the events.
        answer.send(Ok(started)).ok();

        let exit = process.run(&workers, self.notify, self.output, self.ooms_before).await;
        drop((self.door, self.notify_file));
        // Without a receiver nobody needs the event.
        workers.events.send(WorkerEvent::Exited(self.order.worker, exit)).await.ok();
    }
}

struct Shim {
    process: Child,
    watch: ExitWatch,
    channel: UnixStream,
    output: pipe::Receiver,
}

fn spawn_shim(
    workers: &ChildWorkers,
    order: &Order,
    environment: Vec<(OsString, OsString)>,
) -> io::Result<Shim> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let channel = UnixStream::from_std(ours)?;
    // Standard output and standard error share one pipe, so that lines come in the order in which they were written.
    let (output, writer) = io::pipe()?;
    let output = pipe::Receiver::from_owned_fd(output.into())?;
    let mut process = Command::new(&workers.self_exe)
        .arg0("rip-server")
        .args(["worker-exec", "--channel"])
        .args(process_setup::open_files().map(|soft| format!("{OPEN_FILES}{soft}")))
        .arg("--")
        .args(&order.launch.command)
        .env_clear()
        .envs(environment)
        .current_dir(&order.launch.directory)
        .stdin(OwnedFd::from(theirs))
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", workers.self_exe.display())))?;
    match ExitWatch::new(&process) {
        Ok(watch) => Ok(Shim { process, watch, channel, output }),
        Err(error) => {
            // The reaper does not know the process yet, which is only the shim and ends with its channel too.
            process.kill().and_then(|()| process.wait())?;
            Err(error)
        }
    }
}

/// The server's environment without what is between it and systemd or its own settings, then the app's, then the
/// worker contract.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    order: &Order,
    address: Option<&Address>,
    notify: &SocketFile,
    mark: &Mark,
) -> Vec<(OsString, OsString)> {
    let launch = &order.launch;
    let mut environment = environment_of_app(inherited, launch);
    let numbers = (order.worker.0, order.generation.0);
    let own = contract::environment::identity(&launch.app, &launch.instance, numbers, &launch.directory);
    let places = contract::environment::places(launch, address, notify.path(), &notify.pid_file());
    let mark = (strays::VARIABLE, mark.as_str().into());
    environment.extend(own.into_iter().chain(places).chain([mark]).map(|(name, value)| (name.into(), value)));
    environment
}

/// The server's environment without what is between it and systemd or its own settings, then the app's.
fn environment_of_app(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    launch: &LaunchSpec,
) -> Vec<(OsString, OsString)> {
    let ours = |name: &OsString| {
        name.as_encoded_bytes().starts_with(b"RIP_") || SYSTEMD_ENV.iter().any(|systemd| name == systemd)
    };
    let mut environment: Vec<_> = inherited.filter(|(name, _)| !ours(name)).collect();
    environment.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
    environment
}

/// The environment of a command that is to run as the workers of a generation do: theirs, less what is one worker's own.
/// Variables that are not UTF-8 are left out.
pub(crate) fn environment_of_command(
    launch: &LaunchSpec,
    generation: GenerationId,
) -> BTreeMap<String, String> {
    let own =
        contract::environment::identity(&launch.app, &launch.instance, (0, generation.0), &launch.directory);
    let own = own.into_iter().filter(|(name, _)| *name != "RIP_WORKER");
    let all = environment_of_app(std::env::vars_os(), launch);
    let all = all.into_iter().chain(own.map(|(name, value)| (name.into(), value)));
    let mut all: BTreeMap<String, String> =
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let path = launch.path_of_commands(all.remove("PATH"));
    all.insert("PATH".into(), path);
    all
}

/// The same where it is to be a unit, which has nothing of the server's environment.
pub(crate) fn environment_of_unit(launch: &LaunchSpec) -> BTreeMap<String, String> {
    let mut env = launch.env.clone();
    env.insert("PATH".into(), launch.path_of_commands(None));
    env
}

fn refused(order: &Order, source: io::Error) -> StartError {
    let program = order.launch.command.first().cloned().unwrap_or_default();
    StartError::Program { program, directory: order.launch.directory.clone(), source }
}

const EXEC_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sockets::Sockets;
    use crate::backend::tests::order;

    #[tokio::test]
    async fn the_environment_is_the_servers_less_what_is_private_plus_the_apps_plus_the_contract() {
        let runtime = tempfile::tempdir().unwrap();
        let sockets = Sockets::prepare(runtime.path(), None).unwrap();
        let mut order = order(3, &["app"]);
        let launch = Arc::make_mut(&mut order.launch);
        launch.env = BTreeMap::from([("LANG".into(), "C".into()), ("RIP_WORKER".into(), "forged".into())]);
        launch.pid_file = true;
        let inherited =
            ["PATH", "LANG", "NOTIFY_SOCKET", "LISTEN_PID", "WATCHDOG_USEC", "RIP_STATE_DIR", "RIPE"];
        let (door, (_notify, notify)) =
            (sockets.door_of(&order).unwrap(), sockets.notify(order.worker).unwrap());

        let mark = Mark::new();
        let inherited = inherited.iter().map(|name| (name.into(), "inherited".into()));
        let environment: BTreeMap<_, _> =
            environment(inherited, &order, door.address.as_ref(), &notify, &mark).into_iter().collect();

        let notify = notify.path().to_str().unwrap();
        let pid_file = format!("{notify}.pid");
        let expected = [
            ("LANG", "C"),
            ("NOTIFY_SOCKET", notify),
            ("PATH", "inherited"),
            ("PIDFILE", &*pid_file),
            ("PWD", "/"),
            ("RIPE", "inherited"),
            ("RIP_APP", "app"),
            ("RIP_GENERATION", "1"),
            ("RIP_INSTANCE", "test"),
            ("RIP_MARK", mark.as_str()),
            ("RIP_WORKER", "3"),
        ];
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        assert_eq!(environment, expected);
    }
}
