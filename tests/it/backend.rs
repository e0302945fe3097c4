//! The child backend with real processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rip_server::backend::child::{ChildBackend, ChildSettings};
use rip_server::backend::{Backend, Order, Signal, StartError, Started, WorkerEvent, WorkerExit};
use rip_server::name::{AppName, GenerationId, InstanceName, WorkerId};
use rip_server::pool::Address;
use rip_server::spec::{LaunchSpec, Listen, Memory, ReloadSignal};
use rip_server::tasks::TaskGroup;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A backend in a directory of its own.
struct Home {
    backend: ChildBackend,
    events: mpsc::Receiver<WorkerEvent>,
    stop: TaskGroup,
    runtime: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let runtime = tempfile::tempdir().unwrap();
        let (backend, events, stop) = open(runtime.path()).await;
        Self { backend, events, stop, runtime }
    }

    async fn start(&self, listen: Listen, command: &[&str]) -> Result<Started, StartError> {
        within(self.backend.start(order(self.runtime.path(), listen, command))).await
    }

    /// A shell script as worker 1.
    async fn script(&self, script: &str) -> Started {
        self.start(Listen::Fd, &["sh", "-c", script]).await.unwrap()
    }

    /// Passes over the beginning of an end that takes a while.
    async fn event(&mut self) -> WorkerEvent {
        loop {
            match within(self.events.recv()).await.unwrap() {
                WorkerEvent::Ending(..) => {}
                event => return event,
            }
        }
    }

    async fn line(&mut self) -> String {
        match self.event().await {
            WorkerEvent::Output(WORKER, line) => line,
            other => panic!("expected a line, got {other:?}"),
        }
    }

    /// Passes over what the worker still writes.
    async fn exit(&mut self) -> WorkerExit {
        loop {
            if let WorkerEvent::Exited(WORKER, exit) = self.event().await {
                return exit;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        self.backend.signal(WORKER, signal);
    }
}

async fn open(runtime: &Path) -> (ChildBackend, mpsc::Receiver<WorkerEvent>, TaskGroup) {
    let (events, received) = mpsc::channel(256);
    let stop = TaskGroup::new();
    let backend = within(ChildBackend::open(settings(runtime, &stop, events))).await;
    (backend.unwrap(), received, stop)
}

fn settings(runtime: &Path, stop: &TaskGroup, events: mpsc::Sender<WorkerEvent>) -> ChildSettings {
    ChildSettings {
        runtime_dir: runtime.into(),
        instance: instance(runtime),
        socket_prefix: None,
        self_exe: env!("CARGO_BIN_EXE_rip-server").into(),
        stop: stop.clone(),
        events,
    }
}

fn order(directory: &Path, listen: Listen, command: &[&str]) -> Order {
    let launch = LaunchSpec {
        app: AppName::parse("app").unwrap(),
        instance: InstanceName::parse("somewhere").unwrap(),
        directory: directory.into(),
        command: command.iter().map(ToString::to_string).collect(),
        env: BTreeMap::from([("COLOUR".into(), "green".into())]),
        notify: true,
        pid_file: false,
        listen,
        memory: Memory::default(),
        kill_after: Duration::from_secs(5),
        job: None,
    };
    Order { worker: WORKER, generation: GenerationId(4), launch: Arc::new(launch) }
}

/// A name of its own for each backend, so that tests can tell their guards apart.
fn instance(runtime: &Path) -> InstanceName {
    let name = runtime.file_name().unwrap().to_str().unwrap();
    InstanceName::parse(&format!("test{name}")).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("it happens in time")
}

fn socket(started: &Started) -> PathBuf {
    match &started.address {
        Some(Address::Unix(path) | Address::Bound(path)) => path.clone(),
        other => panic!("{other:?} is no Unix socket"),
    }
}

/// Whether a process is there and not a zombie.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_worker_answers_on_descriptor_3_and_inherits_nothing_else() {
    let leaked = File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let home = Home::new().await;
    let script = "
import os, socket
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
fds = [int(fd) for fd in os.listdir('/proc/self/fd')]
fds = sorted(fd for fd in fds if is_open(fd))
e = os.environ
client = socket.socket(fileno=3).accept()[0]
client.send(repr([fds, os.readlink('/proc/self/fd/0'), e['LISTEN_FDS'], e['LISTEN_FDNAMES'],
    int(e['LISTEN_PID']) == os.getpid(), os.getpgrp() == os.getpid()]).encode())
";

    let started = home.start(Listen::Fd, &["python3", "-c", script]).await.unwrap();

    let mut answer = String::new();
    let mut client = UnixStream::connect(socket(&started)).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "[[0, 1, 2, 3], '/dev/null', '1', 'http', True, True]");
}

#[tokio::test]
async fn a_dead_worker_refuses_at_once() {
    let mut home = Home::new().await;
    let started = home.script("exec sleep 1000").await;
    let (socket, link) = (socket(&started), home.runtime.path().join("link"));
    fs::hard_link(&socket, &link).unwrap();
    UnixStream::connect(&link).unwrap();

    home.signal(Signal::Kill);

    assert_eq!(home.event().await, WorkerEvent::Exited(WORKER, WorkerExit::Timeout));
    assert_eq!(UnixStream::connect(&link).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(!socket.exists() && !home.runtime.path().join("n/1").exists());
}

#[tokio::test]
async fn lines_come_in_the_order_they_were_written_and_before_the_end() {
    let mut home = Home::new().await;

    home.script("echo one; echo two >&2; echo three; printf four; exit 3").await;

    for line in ["one", "two", "three", "four"] {
        assert_eq!(home.line().await, line);
    }
    assert_eq!(home.event().await, WorkerEvent::Exited(WORKER, WorkerExit::Status(3)));
}

#[tokio::test]
async fn a_worker_knows_who_and_where_it_is() {
    let mut home = Home::new().await;

    home.script("echo $COLOUR $RIP_APP $RIP_INSTANCE $RIP_WORKER $RIP_GENERATION; echo $PWD; pwd").await;

    assert_eq!(home.line().await, "green app somewhere 1 4");
    let directory = home.runtime.path().to_str().unwrap().to_owned();
    assert_eq!([home.line().await, home.line().await], [directory.clone(), directory]);
}

#[tokio::test]
async fn a_worker_that_binds_itself_is_told_where_and_gets_no_descriptor() {
    let mut home = Home::new().await;
    let script = ["sh", "-c", "echo $RIP_SOCKET; echo $HOST:$PORT; test -e /proc/self/fd/3 || echo none"];

    let path = socket(&home.start(Listen::Path, &script).await.unwrap());
    let seen = [home.line().await, home.line().await, home.line().await];
    assert_eq!(seen, [path.to_str().unwrap(), ":", "none"]);
    assert_eq!(home.exit().await, WorkerExit::Status(0));

    let started = home.start(Listen::Port, &script).await.unwrap();
    let Some(Address::Tcp(address)) = started.address else { panic!("{started:?}") };
    let seen = [home.line().await, home.line().await, home.line().await];
    assert_eq!(seen, ["", &format!("127.0.0.1:{}", address.port()), "none"]);
}

#[tokio::test]
async fn ready_is_told_once_however_often_it_is_said() {
    let mut home = Home::new().await;
    let script = "
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ['NOTIFY_SOCKET'])
notify.send(b'STATUS=READY=1')
print('not yet', flush=True)
socket.socket(fileno=3).accept()
for _ in range(1000): notify.send(b'STATUS=fine\\nREADY=1\\n')
";
    let started = home.start(Listen::Fd, &["python3", "-c", script]).await.unwrap();
    assert_eq!(home.line().await, "not yet");

    UnixStream::connect(socket(&started)).unwrap();

    assert_eq!(home.event().await, WorkerEvent::Ready(WORKER));
    assert_eq!(home.event().await, WorkerEvent::Exited(WORKER, WorkerExit::Status(0)));
}

#[tokio::test]
async fn ends_are_told_by_their_cause() {
    let mut home = Home::new().await;

    home.script("kill -SEGV $$").await;
    assert_eq!(home.exit().await, WorkerExit::Signal(11));

    home.script("exec sleep 1000").await;
    home.signal(Signal::Terminate);
    assert_eq!(home.exit().await, WorkerExit::Signal(15));

    home.script("exec sleep 1000").await;
    home.signal(Signal::OutOfMemory);
    assert_eq!(home.exit().await, WorkerExit::OutOfMemory);

    // Nobody is there any more.
    home.signal(Signal::Kill);
}

#[tokio::test]
async fn a_reload_signal_reaches_the_app() {
    let mut home = Home::new().await;
    home.script("trap 'echo again' USR2; echo up; while :; do sleep 1000 & wait; done").await;
    assert_eq!(home.line().await, "up");

    home.signal(Signal::Reload(ReloadSignal::Usr2));

    assert_eq!(home.line().await, "again");
    home.signal(Signal::Kill);
    home.exit().await;
}

#[tokio::test]
async fn a_worker_is_gone_only_with_all_its_processes() {
    let mut home = Home::new().await;
    home.script("trap '' TERM HUP; sleep 1000 & echo $!; exit 5").await;
    let grandchild = home.line().await;

    assert_eq!(home.exit().await, WorkerExit::Status(5));

    assert!(!lives(&grandchild));
}

#[tokio::test]
async fn what_cannot_be_executed_is_told_in_words_and_leaves_nothing() {
    let mut home = Home::new().await;
    let folder = home.runtime.path().to_owned();
    fs::write(folder.join("plain"), "").unwrap();
    fs::write(folder.join("script"), "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(folder.join("script"), fs::Permissions::from_mode(0o755)).unwrap();

    for (program, reason) in [
        ("no-such-program", "there is no such program in PATH"),
        ("./missing", "there is no such file"),
        ("./plain", "it may not be executed"),
        ("./script", "the interpreter named in its first line does not exist"),
    ] {
        let error = home.start(Listen::Fd, &[program]).await.unwrap_err().to_string();
        let expected = format!("cannot start `{program}` in {}: {reason}", folder.display());
        assert!(error.starts_with(&expected), "{error}");
    }
    let error = within(home.backend.start(order(Path::new("/nonexistent"), Listen::Fd, &["sh"]))).await;
    let expected = "cannot start `sh` in /nonexistent: the directory does not exist";
    assert_eq!(error.unwrap_err().to_string(), expected);
    assert_eq!(fs::read_dir(folder.join("w")).unwrap().count(), 0);
    home.events.try_recv().unwrap_err();
}

#[tokio::test]
async fn memory_counts_all_processes_of_a_worker() {
    let mut home = Home::new().await;
    let script = "
import os
block = bytearray(64 << 20)
os.fork() or block.__setitem__(slice(None), b'x' * len(block))
print('full', flush=True)
import time; time.sleep(1000)
";
    home.start(Listen::Path, &["python3", "-c", script]).await.unwrap();
    assert_eq!([home.line().await, home.line().await], ["full", "full"]);

    home.backend.refresh_memory(WORKER);
    let bytes = home.backend.memory(WORKER).unwrap();

    assert!((100 << 20..400 << 20).contains(&bytes), "{bytes}");
    assert_eq!(home.backend.memory(WorkerId(99)), None);
    home.signal(Signal::Kill);
    home.exit().await;
}

#[tokio::test]
async fn a_worker_that_writes_more_than_anybody_reads_is_not_held_up() {
    let mut home = Home::new().await;

    let started = home.script("seq 100000; seq 100001 200000 >&2; exit 7").await;
    while lives(&started.pid.to_string()) {
        tokio::task::yield_now().await;
    }

    assert_eq!([home.line().await, home.line().await], ["1", "2"]);
    assert_eq!(home.exit().await, WorkerExit::Status(7));
}

#[tokio::test]
async fn many_workers_start_and_end_at_the_same_time() {
    let mut home = Home::new().await;
    let starts = (1..=MANY).map(|id| {
        let mut order = order(home.runtime.path(), Listen::Fd, &["sleep", "1000"]);
        order.worker = WorkerId(id);
        home.backend.start(order)
    });

    for started in within(futures_util::future::join_all(starts)).await {
        UnixStream::connect(socket(&started.unwrap())).unwrap();
    }
    (1..=MANY).for_each(|id| home.backend.signal(WorkerId(id), Signal::Terminate));

    let mut ended = Vec::new();
    for _ in 1..=MANY {
        match home.event().await {
            WorkerEvent::Exited(worker, WorkerExit::Signal(15)) => ended.push(worker.0),
            other => panic!("{other:?}"),
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, (1..=MANY).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_orderly_stop_leaves_no_task_and_no_guard() {
    let mut home = Home::new().await;
    home.script("exec sleep 1000").await;
    assert_eq!(guards(home.runtime.path()).len(), 1);

    home.stop.request();
    home.signal(Signal::Terminate);
    home.exit().await;
    within(home.stop.finished()).await;

    assert_eq!(guards(home.runtime.path()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_directory_has_the_workers_of_one_server() {
    let home = Home::new().await;

    let second = ChildBackend::open(settings(home.runtime.path(), &home.stop, mpsc::channel(1).0)).await;

    let error = second.err().unwrap().to_string();
    assert_eq!(
        error,
        format!("another server has its workers' sockets in {}", home.runtime.path().display())
    );
}

#[tokio::test]
async fn a_start_that_nobody_awaits_any_more_is_still_watched() {
    let mut home = Home::new().await;
    let abandoned = home.backend.start(order(home.runtime.path(), Listen::Fd, &["sh", "-c", "exit 6"]));

    timeout(Duration::ZERO, abandoned).await.unwrap_err();

    assert_eq!(home.exit().await, WorkerExit::Status(6));
}

#[tokio::test]
async fn a_killed_server_leaves_no_orphans() {
    if let Some(runtime) = std::env::var_os(SERVER) {
        return serve(Path::new(&runtime)).await;
    }
    let runtime = tempfile::tempdir().unwrap();
    let mut server = Server::start(runtime.path(), "backend::a_killed_server_leaves_no_orphans");
    let workers = [
        server.ask("echo up; exec sleep 1000"),
        server.ask("trap '' TERM; echo up; while :; do sleep 1000; done"),
    ];

    server.process.kill().unwrap();
    server.process.wait().unwrap();
    // Waits for the old workers to be gone.
    let (_backend, _events, _stop) = open(runtime.path()).await;

    assert!(!workers.iter().any(|pid| lives(pid)));
    assert_eq!(fs::read_dir(runtime.path().join("w")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(runtime.path().join("n")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_new_guard_takes_over_from_one_that_died() {
    if let Some(runtime) = std::env::var_os(SERVER) {
        return serve(Path::new(&runtime)).await;
    }
    let runtime = tempfile::tempdir().unwrap();
    let mut server = Server::start(runtime.path(), "backend::a_new_guard_takes_over_from_one_that_died");
    let before = server.ask("echo up; exec sleep 1000");
    let guard = server.ask("guard");

    let killed = rustix::process::Pid::from_raw(guard.parse().unwrap()).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    while [guard.as_str(), ""].contains(&server.ask("guard").as_str()) {}
    let after = server.ask("echo up; exec sleep 1000");
    assert!(lives(&before));
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let (_backend, _events, _stop) = open(runtime.path()).await;

    assert!(!lives(&before) && !lives(&after));
}

/// A process that has a backend and can be killed: the calling test again, told by [`SERVER`] to [`serve`].
struct Server {
    process: Child,
    answers: BufReader<std::process::ChildStderr>,
}

impl Server {
    fn start(runtime: &Path, test: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(SERVER, runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stderr.take().unwrap());
        Self { process, answers }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

/// Answers `guard` with the guard's process id, and anything else, a script, with that of a worker that runs it
/// once it has said something.
async fn serve(runtime: &Path) {
    let (backend, mut events, _stop) = open(runtime).await;
    let mut questions = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
        tokio::fs::File::from_std(File::open("/dev/stdin").unwrap()),
    ));
    let mut next = 1;
    while let Some(question) = questions.next_line().await.unwrap() {
        if question == "guard" {
            eprintln!("{}", guards(runtime).concat());
            continue;
        }
        let mut order = order(runtime, Listen::Fd, &["sh", "-c", &question]);
        order.worker = WorkerId(next);
        next += 1;
        let started = backend.start(order).await.unwrap();
        assert!(matches!(events.recv().await, Some(WorkerEvent::Output(..))));
        eprintln!("{}", started.pid);
    }
}

/// The guards of the backend in `runtime` that are children of this process, by their ids.
fn guards(runtime: &Path) -> Vec<String> {
    let parent = format!("PPid:\t{}\n", std::process::id());
    let command = format!("rip-server\0worker-guard\0{}\0", instance(runtime));
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let read = |pid: &str, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.filter(|pid| read(pid, "status").contains(&parent) && read(pid, "cmdline") == command).collect()
}

const WORKER: WorkerId = WorkerId(1);
const MANY: u64 = 32;
const SERVER: &str = "TEST_SERVER_IN";
const LIMIT: Duration = Duration::from_secs(20);
