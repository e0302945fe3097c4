//! The control server through a real socket, as a client of any kind sees it, before a real supervisor.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::api::{
    AcmeStatus, BackendName, CertPlan, CertificateStatus, HostCertificate, ImportCert, RenewEvent,
    WorkerState,
};
use crate::backend::fake::{Behaviour, FakeBackend};
use crate::backend::{WorkerEvent, WorkerExit};
use crate::directory::Directory;
use crate::name::{AppName, HostName, WorkerId};
use crate::registry::Registry;
use crate::spec::{
    AppSpec, LaunchSpec, Listen, Memory, ReadyBy, Recycle, Reload, Rules, Timeouts, Upkeep, WorkerCount,
};
use crate::supervisor::{Resolve, ResolveError, SupervisorParts};
use crate::time::Heartbeats;

use super::*;

mod calls;
mod connections;

struct Running {
    dir: tempfile::TempDir,
    supervisor: Supervisor,
    workers: Arc<FakeBackend>,
    events: tokio::sync::mpsc::Sender<WorkerEvent>,
    stop: TaskGroup,
    shutdown: ShutdownToken,
}

/// A server's one certificate, with no authority to get others from.
struct NoAuthority;

impl NoAuthority {
    fn refuse<T: Send + 'static>() -> CertificateCall<'static, T> {
        Box::pin(async { Err(CertificateCallError::Conflict("as a test".into())) })
    }
}

impl Certificates for NoAuthority {
    fn in_use(&self) -> Vec<CertificateStatus> {
        let names = vec!["localhost".into()];
        vec![CertificateStatus { names, source: "self-signed".into(), expires_in: 60, problem: None }]
    }

    fn acme(&self) -> Vec<AcmeStatus> {
        Vec::new()
    }

    fn of(&self, _: &[HostName]) -> Vec<HostCertificate> {
        Vec::new()
    }

    fn renew(&self, _: HostName, _: bool) -> tokio::sync::mpsc::Receiver<RenewEvent> {
        tokio::sync::mpsc::channel(1).1
    }

    fn plan(&self, _: HostName) -> CertificateCall<'_, CertPlan> {
        Self::refuse()
    }

    fn import(&self, _: HostName, _: ImportCert) -> CertificateCall<'_, HostCertificate> {
        Self::refuse()
    }

    fn removed(&self, _: &HostName) -> CertificateCall<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Running {
    /// Starts a server without an app.
    fn start() -> Self {
        Self::with(vec![])
    }

    /// Starts a server with an app `blog` of two workers, ready.
    async fn with_blog() -> Self {
        let server = Self::with(vec!["/srv/rip/blog".into()]);
        assert_eq!(server.supervisor.settled().await, []);
        server
    }

    fn with(apps: Vec<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (stop, shutdown) = (TaskGroup::new(), ShutdownToken::new());
        let control = dir.path().join("api.sock");
        let facts = ServerFacts {
            instance: InstanceName::parse("api").unwrap(),
            version: "0.1.0".into(),
            started: Instant::now(),
            urls: vec!["https://localhost".into()],
            control: control.clone(),
            certificates: Arc::new(NoAuthority),
            asked_by_balancers: false,
            lame_duck: Duration::ZERO,
            drain: Duration::from_secs(30),
            service: None,
            backend: BackendStatus { name: BackendName::Child, why: "as a test".into() },
            settings: Arc::new(NoFile),
        };
        let (events, happened) = tokio::sync::mpsc::channel(16);
        let workers = FakeBackend::new(events.clone());
        let parts = SupervisorParts {
            directory: Directory::new(),
            backend: Arc::clone(&workers) as _,
            events: happened,
            registry: Registry::open(&dir.path().join("registry.json")).unwrap(),
            resolve: Arc::new(AnyPath),
            metrics: Metrics::new(),
            serving_generations: None,
            released_content: dir.path().join("releases.json"),
            cores: 2,
            stop: TaskGroup::new(),
        };
        let supervisor = Supervisor::start(parts, apps);
        Control::start(ControlParts {
            listeners: vec![bind(&control).unwrap()],
            supervisor: supervisor.clone(),
            facts: Arc::new(facts),
            metrics: Metrics::new(),
            stop: stop.clone(),
            shutdown: shutdown.clone(),
            drain: BalancerDrain::default(),
            heartbeats: Heartbeats::new(),
        })
        .unwrap();
        Self { dir, supervisor, workers, events, stop, shutdown }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// The head and the body of the answer to a request on one connection.
    async fn call(&self, request: &str, body: &str) -> (String, String) {
        let length = body.len();
        let head =
            format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        exchange(&self.socket(), &(head + body)).await
    }

    async fn ask(&self, request: &str, body: &str) -> (String, Value) {
        let (head, body) = self.call(request, body).await;
        let status = head.split(' ').nth(1).unwrap().into();
        (status, serde_json::from_str(&body).unwrap())
    }
}

/// A server without a config file.
struct NoFile;

impl ServerSettings for NoFile {
    fn read_anew(&self) -> Result<(), String> {
        Ok(())
    }

    fn needs_restart(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Makes an app of every path, named by the path's last part, with a host of that name.
struct AnyPath;

impl Resolve for AnyPath {
    fn resolve(&self, path: &Path) -> Result<AppSpec, ResolveError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let name = AppName::parse(name).map_err(|_| ResolveError::new(format!("`{name}` is no app")))?;
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            start: second,
            drain: second,
            kill: second,
            probation: Duration::ZERO,
            ..Timeouts::default()
        };
        let rules = Rules { timeouts, ..Rules::default() };
        let upkeep = Upkeep {
            workers: WorkerCount::Exactly(NonZeroU32::new(2).unwrap()).into(),
            reload: Reload::None,
            ..Upkeep::default()
        };
        let launch = LaunchSpec {
            app: name.clone(),
            instance: InstanceName::parse("api").unwrap(),
            directory: path.into(),
            command: vec!["serve".into()],
            env: BTreeMap::new(),
            listen: Listen::Fd,
            notify: true,
            pid_file: false,
            memory: Memory::default(),
            kill_after: Duration::from_secs(1),
            job: None,
        };
        Ok(AppSpec {
            hosts: vec![format!("{name}.example").parse().unwrap()],
            name,
            path: path.into(),
            described: "a test".into(),
            entry: None,
            launch: Arc::new(launch),
            upkeep,
            recycle: Recycle::OFF,
            ready_by: ReadyBy::Either,
            sources: Arc::default(),
            rules: Arc::new(rules),
            jobs: Arc::default(),
            warnings: Vec::new(),
        })
    }
}

async fn exchange(socket: &Path, bytes: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    split(read_to_end(&mut stream).await)
}

async fn read_to_end(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    // The server's answer is there in spite of the reset for unread bodies.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

fn split(answer: String) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.into(), body.into())
}

fn refused(code: &str, message: &str, hint: Option<&str>) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let Some(hint) = hint {
        error["hint"] = hint.into();
    }
    json!({"ok": false, "error": error})
}
