//! A running `rip-server` with everything it owns in a folder of its own, and clients to talk to it.
//!
//! [`Setup`] says what is to run, [`Server`] runs; when a `Server` is dropped it is killed, and the test fails if any
//! of its processes is left behind. [`client`] speaks HTTP to it, [`Meeting`] commands the scripted worker.

pub(crate) mod balancer;
pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod ctl;
pub(crate) mod disk;
#[allow(dead_code, reason = "made for more tests than these")]
pub(crate) mod load;
pub(crate) mod meeting;
mod output;
pub(crate) mod people;
pub(crate) mod processes;
pub(crate) mod tls;
pub(crate) mod visitor;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rip_server::api::{Status, WorkerList};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) use client::{Conn, Reply};
pub(crate) use meeting::{Meeting, View};
pub(crate) use output::Output;

/// Waits until the condition holds; fails the test when it does not within [`PATIENCE`].
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "not in {PATIENCE:?}: {what}");
}

/// Gives the future [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("not in {PATIENCE:?}: {what}"))
}

/// Far more than anything takes, for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is to run. Every setting beyond the words goes into the config files, as an admin or an app would say
/// it.
pub(crate) struct Setup {
    app: Option<PathBuf>,
    words: Vec<String>,
    server: String,
    rules: String,
    worker: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    tls: bool,
    sockets: bool,
    script: &'static str,
    listen: &'static str,
    look: Look,
    records: Option<OwnedFd>,
    errors: Option<OwnedFd>,
    within: Vec<String>,
    wait: Wait,
}

/// How its records are to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Json,
    Lines,
    /// Lines, on a terminal.
    Terminal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ready,
    Up,
}

impl Setup {
    /// The scripted worker (`worker.py`), one of it unless the words say otherwise.
    pub(crate) fn scripted() -> Self {
        Self {
            app: None,
            words: Vec::new(),
            server: String::new(),
            rules: String::new(),
            worker: Vec::new(),
            variables: Vec::new(),
            tls: false,
            sockets: false,
            script: "worker.py",
            listen: "fd",
            look: Look::Json,
            records: None,
            errors: None,
            within: Vec::new(),
            wait: Wait::Ready,
        }
    }

    /// An app of its own: a path, with `@hosts` if wanted.
    pub(crate) fn app(path: impl Into<PathBuf>) -> Self {
        Self { app: Some(path.into()), ..Self::scripted() }
    }

    /// A demo app of `tests/apps`.
    pub(crate) fn demo(name: &str) -> Self {
        Self::app(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name))
    }

    /// Words of the command line.
    pub(crate) fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Lines of the server's config file. Tables can be given by dotted keys: `limits.head = "1s"`.
    pub(crate) fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Lines of the scripted app's `rip.toml`: `timeouts.request = "1s"`.
    pub(crate) fn rules(mut self, lines: &str) -> Self {
        self.rules.push_str(lines);
        self.rules.push('\n');
        self
    }

    /// A variable for the scripted worker.
    pub(crate) fn worker(mut self, name: &str, value: &str) -> Self {
        self.worker.push((name.into(), value.into()));
        self
    }

    /// A variable for the server.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// A worker that binds a TCP port.
    pub(crate) fn port(mut self) -> Self {
        self.listen = "port";
        self
    }

    /// A worker that binds a path.
    pub(crate) fn path(mut self) -> Self {
        self.listen = "path";
        self
    }

    /// A worker that speaks HTTP/2 (`h2c.mjs`) in place of the scripted one; needs node.
    pub(crate) fn h2c(mut self) -> Self {
        self.script = "h2c.mjs";
        self.rules("protocol = \"h2c\"")
    }

    /// A worker that speaks FastCGI (`fastcgi.py`) in place of the scripted one.
    pub(crate) fn fastcgi(mut self) -> Self {
        self.script = "fastcgi.py";
        self.rules("protocol = \"fastcgi\"")
    }

    /// HTTPS on a free port, without the redirect of port 80.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// HTTPS and the listener that redirects to it, both on free ports: inherited, as systemd passes them.
    pub(crate) fn redirect(mut self) -> Self {
        self.tls = true;
        self.sockets = true;
        self
    }

    /// Records as people read them, in place of JSON.
    pub(crate) fn lines(mut self) -> Self {
        self.look = Look::Lines;
        self
    }

    /// Records as people read them, on a terminal.
    pub(crate) fn terminal(mut self) -> Self {
        self.look = Look::Terminal;
        self
    }

    /// Access records go there, not to [`Server::output`].
    pub(crate) fn records_to(mut self, there: impl Into<OwnedFd>) -> Self {
        self.records = Some(there.into());
        self
    }

    /// Has the server's standard error go there, not to [`Server::output`].
    pub(crate) fn errors_to(mut self, there: impl Into<OwnedFd>) -> Self {
        self.errors = Some(there.into());
        self
    }

    /// A program with its arguments that starts the server, whose words come behind them.
    pub(crate) fn within(mut self, starter: &[&str]) -> Self {
        self.within.extend(starter.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Do not wait for workers: there may never be one.
    pub(crate) fn without_workers(mut self) -> Self {
        self.wait = Wait::Up;
        self
    }

    /// Starts the server and waits until all workers are ready.
    pub(crate) async fn start(self) -> Server {
        let folder = tempfile::Builder::new().prefix("rip").tempdir().unwrap();
        self.start_in(folder).await
    }

    /// Starts it in a folder that another server has used.
    pub(crate) async fn start_in(self, folder: TempDir) -> Server {
        let wait = self.wait;
        let mut server = self.launch(folder);
        server.await_up().await;
        if wait == Wait::Ready {
            server.await_ready().await;
        }
        server
    }

    /// Starts the server and does not wait for anything.
    pub(crate) fn launch(self, folder: TempDir) -> Server {
        let root = folder.path();
        let meet = root.join("meet");
        std::fs::create_dir_all(&meet).unwrap();
        let app = self.app.clone().unwrap_or_else(|| self.write_app(root, &meet));
        let config = root.join("server.toml");
        std::fs::write(&config, &self.server).unwrap();
        let mut inherited = Inherited::default();
        let mut command = match (self.sockets, self.within.split_first()) {
            (true, _) => inherited.command(),
            (false, None) => Command::new(PROGRAM),
            (false, Some((starter, words))) => {
                let mut command = Command::new(starter);
                command.args(words).arg(PROGRAM);
                command
            }
        };
        command.arg(app);
        match (self.sockets, self.tls) {
            (true, _) => {}
            (false, true) => {
                command.args(["https:0", "--no-redirect-http", "--bind", "127.0.0.1"]);
            }
            (false, false) => {
                command.args(["http:0", "--bind", "127.0.0.1"]);
            }
        }
        if self.app.is_none() && !self.words.iter().any(|word| word.starts_with("w:")) {
            command.arg("w:1");
        }
        command.args(&self.words).args(["--threads", "2"]);
        if self.look == Look::Json {
            command.arg("--json-logging");
        }
        command.arg("--config").arg(&config);
        command.arg("--runtime-dir").arg(root.join("run")).arg("--state-dir").arg(root.join("state"));
        command.env("TMPDIR", root).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let elsewhere = self.records.map(|there| command.stdin(Stdio::null()).stdout(there)).is_some();
        let (child, output) = match (self.look, self.errors) {
            (Look::Terminal, _) => Output::on_a_terminal(command),
            (_, Some(errors)) => Output::of_records(command, errors),
            _ => Output::capture(command, self.sockets || elsewhere),
        };
        Server {
            child,
            output,
            https: inherited.https,
            http: inherited.http,
            meeting: Meeting::at(meet),
            folder: Some(folder),
        }
    }

    fn write_app(&self, root: &Path, meet: &Path) -> PathBuf {
        let app = root.join("scripted");
        std::fs::create_dir_all(&app).unwrap();
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let mut env = format!("MEET = {}", quoted(meet.to_str().unwrap()));
        for (name, value) in &self.worker {
            env.push_str(&format!(", {name} = {}", quoted(value)));
        }
        let program = if self.script.ends_with(".mjs") { "node" } else { python() };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support").join(self.script);
        let command = format!("[{}, {}]", quoted(program), quoted(script.to_str().unwrap()));
        // Deploys that are about something else are done when they serve.
        let said = self.rules.contains("timeouts.probation");
        let probation = if said { "" } else { "timeouts.probation = \"0s\"\n" };
        let own = format!(
            "command = {command}\nlisten = \"{}\"\nready_path = \"/ready\"\nreload = \"none\"\nenv = {{ {env} }}\n{probation}{}",
            self.listen, self.rules
        );
        std::fs::write(app.join("rip.toml"), own).unwrap();
        app
    }
}

/// Debian's, where it is: a version manager's wrapper takes longer to start than everything else together.
fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Listeners that the server gets as systemd passes them.
#[derive(Default)]
struct Inherited {
    https: Option<u16>,
    http: Option<u16>,
}

impl Inherited {
    /// The server behind a shell that puts the listeners where systemd does: standard input and output become
    /// descriptors 3 and 4, without anything unsafe here.
    fn command(&mut self) -> Command {
        let [https, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        self.https = Some(https.local_addr().unwrap().port());
        self.http = Some(http.local_addr().unwrap().port());
        let mut command = Command::new("/bin/sh");
        let script = "exec 3<&0 4<&1 </dev/null >&2; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=https:http exec \"$0\" \"$@\"";
        command.args(["-c", script, PROGRAM]);
        command.stdin(Stdio::from(OwnedFd::from(https))).stdout(Stdio::from(OwnedFd::from(http)));
        command
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    output: Output,
    https: Option<u16>,
    http: Option<u16>,
    /// The scripted worker's side of the test.
    pub(crate) meeting: Meeting,
    /// `None` once taken for the next server.
    folder: Option<TempDir>,
}

impl Server {
    /// The server's folder: `run`, `run.sock`, `state`, `scripted`, `server.toml`, `meet`.
    pub(crate) fn root(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.root().join("run.sock")
    }

    /// The server's output.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// The main listener's port.
    pub(crate) fn port(&self) -> u16 {
        self.https.or(self.http).expect("the server has said where it listens")
    }

    /// The port of the listener that redirects.
    pub(crate) fn redirect_port(&self) -> u16 {
        self.http.expect("the server has a plain listener")
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.https.is_some()
    }

    /// `GET /status` of the control socket.
    pub(crate) async fn status(&self) -> Status {
        let reply = self.control("GET", "/status", "").await.expect("the control socket answers");
        reply.json()
    }

    /// `GET /workers` of the control socket.
    pub(crate) async fn workers(&self) -> WorkerList {
        let reply = self.control("GET", "/workers", "").await.expect("the control socket answers");
        reply.json()
    }

    /// Asks the control socket.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
        client::control(&self.control_socket(), method, path, body).await
    }

    /// The processes of the workers.
    pub(crate) async fn worker_pids(&self) -> Vec<u32> {
        self.workers().await.workers.iter().filter_map(|worker| worker.pid).collect()
    }

    async fn await_up(&mut self) {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.output);
            }
            if let Ok(reply) = self.control("GET", "/status", "").await
                && reply.status == 200
            {
                let status: Status = reply.json();
                if !status.urls.is_empty() {
                    self.learn_ports(&status.urls);
                    return;
                }
            }
            assert!(started.elapsed() < PATIENCE, "the server does not come up:\n{}", self.output);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn learn_ports(&mut self, urls: &[String]) {
        for url in urls {
            let (scheme, rest) = url.split_once("://").unwrap();
            let port =
                rest.split('/').next().unwrap().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            match scheme {
                "https" => self.https = self.https.or(port),
                _ => self.http = self.http.or(port),
            }
        }
    }

    /// Waits until every app has all its workers.
    pub(crate) async fn await_ready(&self) {
        let ready = async {
            loop {
                let status = self.status().await;
                let all = |app: &rip_server::api::AppStatus| app.workers.ready >= app.workers.wanted.max(1);
                if status.apps.iter().all(all) && !status.apps.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, ready).await.is_err() {
            panic!("the workers do not become ready:\n{}", self.output);
        }
    }

    /// Waits until the server has closed a connection that said nothing, again and again: so many times `limits.head`
    /// have passed by the server's own clock.
    pub(crate) async fn outlast_heads(&self, times: usize) {
        for _ in 0..times {
            Conn::plain(self.port()).await.rest().await;
        }
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the server's own end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let end = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, end).await {
            Ok(status) => status,
            Err(_) => panic!("the server does not end:\n{}", self.output),
        }
    }

    /// Kills the server and hands its folder on to the next one.
    pub(crate) fn kill(mut self) -> TempDir {
        self.clean_up();
        self.folder.take().unwrap()
    }

    /// The most memory the server itself has ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The access record of the request with this path, once it is written.
    pub(crate) async fn record(&self, path: &str) -> serde_json::Value {
        self.records(path, 1).await.remove(0)
    }

    /// So many access records of requests with this path.
    pub(crate) async fn records(&self, path: &str, count: usize) -> Vec<serde_json::Value> {
        let found = || {
            self.output.json().into_iter().filter(|line| line["path"] == path && line["method"].is_string())
        };
        until(&format!("{count} access records of {path}"), || async { found().count() >= count }).await;
        found().collect()
    }

    fn clean_up(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // The workers must go with their server, also when the server cannot end them any more itself.
            self.child.kill().unwrap();
        }
        let end = self.child.wait().unwrap();
        let left = processes::left_behind(self.root());
        let panicked = self.output.contains("panicked");
        if std::thread::panicking() {
            eprintln!("--- the server's output ({end})\n{}", self.output);
            return;
        }
        assert!(left.is_empty(), "processes are left behind: {left:?}\n{}", self.output);
        assert!(!panicked, "the server panicked:\n{}", self.output);
        assert!(end.signal() != Some(6), "the server aborted:\n{}", self.output);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_some() {
            self.clean_up();
        }
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_rip-server");

/// Why a test does not run here. With `TESTS_STRICT` that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("TESTS_STRICT").is_none(), "SKIPPED {why}");
    eprintln!("SKIPPED {why}");
}

/// Whether the program can be run; says that the test is skipped when not.
pub(crate) fn has(program: &str, package: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        skip(&format!("{program} is not installed: apt install {package}"));
    }
    found
}

/// A folder with these files, by their paths in it.
pub(crate) fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}
