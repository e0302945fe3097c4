//! Owns one worker of the child backend from its spawn to its reaping: handover, readiness, output, end.
//!
//! Never here: which workers there are (`child`); whether an end was wanted (`manager`).
//!
//! Between its exit and its reaping a worker's process stays a zombie while the rest of its group is killed: until
//! then its group's id cannot become another group's, and no signal of ours can hit a stranger.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::PID_FILE;
use super::child_workers::ChildWorkers;
use super::guard::Ward;
use super::killed::Killed;
use super::procs::{Groups, Watch, oom_kills};
use super::shim::OPEN_FILES;
use super::sockets::{Door, SocketFile};
use super::strays::{self, Mark};
use super::{Event, Exit, Order, StartError, Started, handover, output};
use crate::name::WorkerId;
use crate::pool::Address;
use crate::spec::Listen;
use crate::system::process_setup;
use crate::system::sd::SYSTEMD_ENV;

/// A worker whose shim waits for the go.
pub(super) struct Worker {
    order: Order,
    process: Child,
    watch: Watch,
    channel: UnixStream,
    notify: UnixDatagram,
    output: pipe::Receiver,
    door: Door,
    notify_file: SocketFile,
    ooms_before: Option<u64>,
    mark: Mark,
}

impl Worker {
    /// Makes the sockets and the process, which does nothing yet.
    pub(super) fn spawn(workers: &ChildWorkers, order: Order) -> Result<Self, StartError> {
        let launch = &order.launch;
        if launch.command.is_empty() {
            return Err(refused(&order, io::Error::new(io::ErrorKind::InvalidInput, "the command is empty")));
        }
        if !launch.directory.is_dir() {
            let text = "the directory does not exist";
            return Err(refused(&order, io::Error::new(io::ErrorKind::NotFound, text)));
        }
        let door = workers.sockets.door(order.worker, launch.listen)?;
        let (notify, notify_file) = workers.sockets.notify(order.worker)?;
        let mark = Mark::new();
        let environment = environment(std::env::vars_os(), &order, &door.address, &notify_file, &mark);
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

    /// What its processes are known by, and what they leave behind.
    pub(super) fn ward(&self) -> Ward {
        let files = self.door.file.iter().chain([&self.notify_file]);
        Ward { mark: self.mark.clone(), files: files.map(|file| file.path().to_owned()).collect() }
    }

    /// The worker's whole life. `answer` hears whether the program runs; only if it does, events follow.
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
        let mut process = Process { worker, process: self.process, watch: self.watch, mark };
        if let Err(source) = launched {
            process.end(&workers).await;
            answer.send(Err(refused(&self.order, source))).ok();
            return;
        }
        let started = Started { pid: process.process.id(), address: self.door.address.clone() };
        // Whoever dropped the start still gets the events.
        answer.send(Ok(started)).ok();

        let exit = process.run(&workers, self.notify, self.output, self.ooms_before).await;
        drop((self.door, self.notify_file));
        // Without a receiver nobody is left to be told.
        workers.events.send(Event::Exited(self.order.worker, exit)).await.ok();
    }
}

struct Process {
    worker: WorkerId,
    process: Child,
    watch: Watch,
    mark: Mark,
}

impl Process {
    async fn run(
        &mut self,
        workers: &ChildWorkers,
        notify: UnixDatagram,
        output: pipe::Receiver,
        ooms_before: Option<u64>,
    ) -> Exit {
        let mut output = pin!(output::pump(output, self.worker, workers.events.clone()));
        let mut readiness = pin!(readiness(notify, self.worker, workers.events.clone()));
        let mut open = true;
        loop {
            tokio::select! {
                () = &mut output, if open => open = false,
                () = &mut readiness => {}
                () = self.watch.exited() => break,
            }
        }
        let unasked = !workers.was_told(self.worker);
        let rest = {
            let mut rest = pin!(self.rest_ends(workers));
            loop {
                tokio::select! {
                    () = &mut output, if open => open = false,
                    () = &mut readiness => {}
                    rest = &mut rest => break rest,
                }
            }
        };
        let background = unasked && self.is_in_background().await;
        let early = if background {
            Exit::Background
        } else {
            exit_of(self.watch.status().unwrap_or_default(), None, ooms_before)
        };
        let worker = self.worker;
        let ended = self.end(workers);
        // Both at once: a full pipe must not outlast the processes that fill it.
        let whole = async move {
            if open { tokio::join!(ended, timeout(LAST_WORDS, output)).0 } else { ended.await }
        };
        let mut whole = pin!(whole);
        let (status, killed) = match timeout(AT_ONCE, &mut whole).await {
            Ok(ended) => ended,
            Err(_) => {
                if unasked {
                    workers.events.send(Event::Ending(worker, early)).await.ok();
                }
                whole.await
            }
        };
        match rest {
            _ if background => Exit::Background,
            Rest::Ended => exit_of(status, killed, ooms_before),
            Rest::TooSlow => Exit::Timeout,
        }
    }

    /// When its end was asked for, the group has its time also when its leader has ended: a shell between the server
    /// and the program dies of SIGTERM at once, while the program finishes what it has in hand.
    async fn rest_ends(&self, workers: &ChildWorkers) -> Rest {
        let group = Pid::from_child(&self.process);
        let mut pause = GROUP_TICK;
        let mut outlived = false;
        while workers.has_time_to_end(self.worker) {
            // As in `end`: what cannot be read is taken for empty.
            if !Groups::read().is_ok_and(|groups| !groups.members(group).is_empty()) {
                return Rest::Ended;
            }
            outlived = true;
            sleep(pause).await;
            // Looking costs something on a machine with many processes.
            pause = (pause * 2).min(LONGEST_TICK);
        }
        match outlived && workers.was_too_slow(self.worker) {
            true => Rest::TooSlow,
            false => Rest::Ended,
        }
    }

    /// Whether it has exited as a daemon's first process does: with status 0, while others that it started go on.
    async fn is_in_background(&self) -> bool {
        let leader = Pid::from_child(&self.process);
        let others = || Groups::read().is_ok_and(|groups| !groups.members(leader).is_empty());
        let status = self.watch.status();
        status.is_some_and(|status| status.success()) && (others() || self.mark.has_others(leader).await)
    }

    /// Ends what is left of the group and what has left it, then reaps.
    async fn end(&mut self, workers: &ChildWorkers) -> (ExitStatus, Option<Killed>) {
        let group = Pid::from_child(&self.process);
        kill(group);
        self.watch.exited().await;
        let give_up = Instant::now() + GROUP_LIMIT;
        self.mark.end(self.worker, group).await;
        while Groups::read().is_ok_and(|groups| !groups.members(group).is_empty()) {
            if Instant::now() >= give_up {
                tracing::warn!(worker = %self.worker, %group, "processes of an ended worker do not die");
                break;
            }
            sleep(GROUP_TICK).await;
            kill(group);
        }
        let killed = workers.forget(self.worker);
        workers.keeper.release(group);
        let status = self.process.wait().unwrap_or_else(|error| {
            tracing::error!(worker = %self.worker, %error, "cannot reap a worker");
            ExitStatus::default()
        });
        (status, killed)
    }
}

/// How the rest of a worker's group ended, after its leader.
enum Rest {
    Ended,
    /// It was killed when its time was over.
    TooSlow,
}

fn kill(group: Pid) {
    // Processes that are gone already, or that we may not signal, show up in the count of members.
    kill_process_group(group, Signal::KILL).ok();
}

/// Tells the first `READY=1`; reads on, because a full socket would block whoever sends.
pub(super) async fn readiness(notify: UnixDatagram, worker: WorkerId, events: mpsc::Sender<Event>) {
    let mut ready = false;
    let mut datagram = vec![0; MAX_DATAGRAM];
    while let Ok(count) = notify.recv(&mut datagram).await {
        if !ready && says_ready(&datagram[..count]) {
            ready = true;
            events.send(Event::Ready(worker)).await.ok();
        }
    }
    std::future::pending().await
}

/// sd_notify(3)
pub(super) fn says_ready(datagram: &[u8]) -> bool {
    datagram.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// A SIGKILL that nobody here sent, while the kernel counted a kill for memory, was that kill. One that was sent from
/// here is told by why.
fn exit_of(status: ExitStatus, killed: Option<Killed>, ooms_before: Option<u64>) -> Exit {
    let Some(signal) = status.signal() else {
        return Exit::Status(status.code().unwrap_or_default());
    };
    let by_kernel = || killed.is_none() && ooms_before.is_some() && oom_kills() > ooms_before;
    if signal == Signal::KILL.as_raw() && (killed == Some(Killed::ForMemory) || by_kernel()) {
        return Exit::OutOfMemory;
    }
    if signal == Signal::KILL.as_raw() && killed == Some(Killed::TooSlow) {
        return Exit::Timeout;
    }
    Exit::Signal(signal)
}

struct Shim {
    process: Child,
    watch: Watch,
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
    // One pipe for both, so that lines come in the order they were written.
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
    match Watch::new(&process) {
        Ok(watch) => Ok(Shim { process, watch, channel, output }),
        Err(error) => {
            // Not under guard yet, and nothing but the shim: it ends with its channel too.
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
    address: &Address,
    notify: &SocketFile,
    mark: &Mark,
) -> Vec<(OsString, OsString)> {
    let launch = &order.launch;
    let ours = |name: &OsString| {
        name.as_encoded_bytes().starts_with(b"RIP_") || SYSTEMD_ENV.iter().any(|systemd| name == systemd)
    };
    let mut environment: Vec<_> = inherited.filter(|(name, _)| !ours(name)).collect();
    environment.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
    let mut set = |name: &str, value: OsString| environment.push((name.into(), value));
    set("PWD", launch.directory.clone().into());
    set("RIP_APP", launch.app.as_str().into());
    set("RIP_INSTANCE", launch.instance.as_str().into());
    set("RIP_WORKER", order.worker.to_string().into());
    set("RIP_GENERATION", order.generation.to_string().into());
    set(strays::VARIABLE, mark.as_str().into());
    if launch.notify {
        set("NOTIFY_SOCKET", notify.path().into());
    }
    if launch.pid_file && !launch.env.contains_key(PID_FILE) {
        set(PID_FILE, notify.pid_file().into());
    }
    match (launch.listen, address) {
        (Listen::Path, Address::Bound(path)) => set("RIP_SOCKET", path.into()),
        (Listen::Port, Address::Tcp(address)) => {
            set("HOST", address.ip().to_string().into());
            set("PORT", address.port().to_string().into());
        }
        _ => {}
    }
    environment
}

fn refused(order: &Order, source: io::Error) -> StartError {
    let program = order.launch.command.first().cloned().unwrap_or_default();
    StartError::Program { program, directory: order.launch.directory.clone(), source }
}

const EXEC_LIMIT: Duration = Duration::from_secs(10);
const GROUP_LIMIT: Duration = Duration::from_secs(5);
const GROUP_TICK: Duration = Duration::from_millis(10);
const LONGEST_TICK: Duration = Duration::from_millis(160);
/// A process that left its group and threw its environment away may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Within this an exit is told as the end of the worker, or else as the beginning of its end.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Of what is read of a datagram.
pub(super) const MAX_DATAGRAM: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
            (sockets.door(order.worker, Listen::Fd).unwrap(), sockets.notify(order.worker).unwrap());

        let mark = Mark::new();
        let inherited = inherited.iter().map(|name| (name.into(), "inherited".into()));
        let environment: BTreeMap<_, _> =
            environment(inherited, &order, &door.address, &notify, &mark).into_iter().collect();

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

    #[test]
    fn a_sigkill_is_told_by_its_reason() {
        let killed = ExitStatus::from_raw(9);
        let many = Some(u64::MAX);
        assert_eq!(exit_of(killed, Some(Killed::ForMemory), many), Exit::OutOfMemory);
        assert_eq!(exit_of(killed, Some(Killed::TooSlow), many), Exit::Timeout);
        assert_eq!(exit_of(killed, None, many), Exit::Signal(9));
        assert_eq!(exit_of(killed, None, None), Exit::Signal(9));
        assert_eq!(exit_of(ExitStatus::from_raw(15), Some(Killed::ForMemory), many), Exit::Signal(15));
        assert_eq!(exit_of(ExitStatus::from_raw(3 << 8), Some(Killed::ForMemory), many), Exit::Status(3));
    }
}
