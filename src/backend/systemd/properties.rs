//! Owns the properties of a worker's unit (org.freedesktop.systemd1(5)), made from a request, the admin's settings and
//! nothing else.
//!
//! Pure. Never here: whether the request may be granted (`launcher`), or granting it.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Serialize;
use zbus::{Fd, Variant};

use super::dbus::{Property, StartRequest};
use super::{paths, unit};
use crate::backend::contract::environment;
use crate::backend::shim::KEEP_INPUT;
use crate::name::{AppName, InstanceName, WorkerId};
use crate::spec::Sandbox;

/// A worker that is to become a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerUnit<'a> {
    /// The request, checked.
    pub(crate) request: &'a StartRequest,
    pub(crate) instance: &'a InstanceName,
    pub(crate) app: &'a AppName,
    /// The admin's settings.
    pub(crate) sandbox: &'a Sandbox,
    /// The systemd that runs the unit.
    pub(crate) scope: Scope,
    /// The folders of other apps, or folders that those lie in.
    pub(crate) hidden: &'a [PathBuf],
    /// The folder of the worker scripts, if they are not among the system's own programs; no other user may be able to
    /// change the folders above it.
    pub(crate) scripts: Option<&'a Path>,
    /// The one app folder that the worker sees: its own directory, or a folder above it that is the app's too.
    pub(crate) visible: &'a Path,
    /// The program that has `worker-exec`.
    pub(crate) program: &'a Path,
    /// The unit's standard input, output and error.
    pub(crate) streams: UnitStreams<'a>,
}

/// The standard input, output and error of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnitStreams<'a> {
    /// A worker's listener, if it has one, and the journal.
    Journal(Option<BorrowedFd<'a>>),
    /// A terminal, by its path, which becomes the unit's own.
    Terminal(&'a str),
    /// Standard input, output and error of another process.
    Inherited([BorrowedFd<'a>; 3]),
}

impl WorkerUnit<'_> {
    /// Whether the server has the unit started, and not an admin.
    fn is_worker(&self) -> bool {
        matches!(self.streams, UnitStreams::Journal(_))
    }

    /// The unit's name.
    pub(super) fn name(&self) -> String {
        match self.is_worker() {
            true => unit::name(self.instance, self.app, WorkerId(self.request.worker)),
            false => unit::name_of_command(self.instance, self.app, self.request.worker),
        }
    }
}

/// The systemd that a unit belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Scope {
    /// The system's, whose units have a user and a sandbox of their own.
    System,
    /// A user's own, whose units have what needs no privilege.
    User,
}

/// The properties of the unit, in the order in which systemd needs them.
pub(crate) fn properties<'a>(worker: &WorkerUnit<'a>) -> Vec<Property<'a>> {
    let mut list = List::default();
    what_runs(worker, &mut list);
    streams(worker, &mut list);
    variables(worker, &mut list);
    logs(worker, &mut list);
    limits(worker, &mut list);
    folders(worker, &mut list);
    list.put("NoNewPrivileges", true);
    list.put("LockPersonality", true);
    list.put("RestrictRealtime", true);
    list.put("RestrictSUIDSGID", true);
    list.put("RestrictNamespaces", NO_NAMESPACES);
    list.put("SystemCallArchitectures", vec!["native"]);
    list.put("SystemCallErrorNumber", EPERM);
    list.put("SystemCallFilter", (true, vec!["@system-service"]));
    list.put("SystemCallFilter", (false, vec!["@privileged"]));
    // By the calls of these two groups a program becomes the user that it is already, as gunicorn 20 does at every
    // start, and gives its files to that user; they are allowed. The unit has no capability and can gain none
    // (NoNewPrivileges): the kernel lets such a process only set its ids to those that it has, and change a file's
    // group to one that it is in.
    list.put("SystemCallFilter", (true, vec!["@setuid", "@chown"]));
    list.put("RestrictAddressFamilies", (true, FAMILIES.to_vec()));
    list.put("MemoryDenyWriteExecute", !worker.sandbox.write_execute);
    if worker.scope == Scope::System {
        identity(worker, &mut list);
        walls(worker, &mut list);
        view(worker, &mut list);
    }
    list.0
}

#[derive(Default)]
struct List<'a>(Vec<Property<'a>>);

impl<'a> List<'a> {
    fn put(&mut self, name: &'a str, value: impl Into<Variant<'a>>) {
        self.0.push((name, value.into()));
    }
}

fn what_runs<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    let request = worker.request;
    let what = match request.environment.get(environment::JOB) {
        Some(job) => job,
        None if worker.is_worker() => "worker",
        None => "command",
    };
    list.put(
        "Description",
        format!(
            "{} {what} {} of {}, generation {}",
            worker.app, request.worker, worker.instance, request.generation
        ),
    );
    list.put("Type", "exec");
    list.put("Slice", unit::slice(worker.instance));
    // The workers are stopped after the server when the machine goes down.
    list.put("Before", vec![unit::TARGET]);
    list.put("CollectMode", "inactive-or-failed");
    list.put("KillMode", "control-group");
    list.put("TimeoutStopUSec", request.kill_after.max(1));
    list.put("Restart", "no");
    list.put("WorkingDirectory", request.directory.as_str());
    let program = worker.program.display().to_string();
    let mut words = vec!["rip-server".to_owned(), "worker-exec".into()];
    words.extend((!worker.is_worker()).then(|| KEEP_INPUT.into()));
    words.push("--".into());
    // systemd would replace what looks like a variable (systemd.service(5)). ExecStartEx can do without that, but
    // systemd 252 writes it down in a way that it cannot read itself after a reload.
    words.extend(request.command.iter().map(|word| word.replace('$', "$$")));
    list.put("ExecStart", vec![(program, words, false)]);
}

fn streams<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    match worker.streams {
        UnitStreams::Journal(listener) => {
            match listener {
                Some(listener) => list.put("StandardInputFileDescriptor", Variant::Fd(Fd::from(listener))),
                None => list.put("StandardInput", "null"),
            }
            list.put("StandardOutput", "journal");
            list.put("StandardError", "journal");
            return;
        }
        UnitStreams::Terminal(path) => {
            for name in ["StandardInput", "StandardOutput", "StandardError"] {
                list.put(name, "tty");
            }
            list.put("TTYPath", path);
        }
        UnitStreams::Inherited(streams) => {
            let names = [
                "StandardInputFileDescriptor",
                "StandardOutputFileDescriptor",
                "StandardErrorFileDescriptor",
            ];
            for (name, stream) in names.into_iter().zip(streams) {
                list.put(name, Variant::Fd(Fd::from(stream)));
            }
        }
    }
    // The program that started the unit learns how the unit ended, although nothing of the unit is left.
    list.put("AddRef", true);
}

/// Adds the environment. Secrets come by files, because everybody can read `Environment`.
fn variables<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    let request = worker.request;
    let numbers = (request.worker, request.generation);
    let own = environment::identity(worker.app, worker.instance, numbers, Path::new(&request.directory));
    let mut all: Vec<String> =
        request.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let own = own.iter().filter(|(name, _)| worker.is_worker() || *name != "RIP_WORKER");
    all.extend(own.map(|(name, value)| format!("{name}={}", value.display())));
    all.extend(worker.is_worker().then(|| format!("RIP_LAUNCH={}", request.fingerprint)));
    // A hash map has no order, and two units of one spec should be the same.
    all.sort();
    list.put("Environment", all);
    let sandbox = worker.sandbox;
    match (&sandbox.env_file, worker.scope) {
        (Some(file), _) => list.put("EnvironmentFiles", vec![(literally(file), false)]),
        (None, Scope::System) => {
            list.put("EnvironmentFiles", vec![(literally(&paths::env_file(worker.instance)), true)]);
        }
        (None, Scope::User) => {}
    }
    let credentials: Vec<(String, String)> = sandbox
        .credentials
        .iter()
        .filter_map(|credential| credential.split_once(':'))
        .map(|(id, path)| (id.to_owned(), path.to_owned()))
        .collect();
    if !credentials.is_empty() {
        list.put("LoadCredential", credentials);
    }
}

/// A path for `EnvironmentFile=`, which is a pattern of glob(7) (systemd.exec(5)): a backslash takes the next
/// character's meaning away. systemd escapes `%` itself.
fn literally(path: &Path) -> String {
    let mut pattern = String::new();
    for character in path.display().to_string().chars() {
        if matches!(character, '\\' | '*' | '?' | '[' | ']') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn logs<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    list.put("SyslogIdentifier", worker.app.to_string());
    let fields = [
        format!("RIP_INSTANCE={}", worker.instance),
        format!("RIP_APP={}", worker.app),
        format!("RIP_WORKER={}", worker.request.worker),
        format!("RIP_GENERATION={}", worker.request.generation),
    ];
    list.put("LogExtraFields", fields.map(String::into_bytes).to_vec());
    // An app that writes a lot must not lose lines to the limit for services that run amok.
    list.put("LogRateLimitIntervalUSec", 0_u64);
}

fn limits<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    let sandbox = worker.sandbox;
    let asked = Some(worker.request.memory_max).filter(|bytes| *bytes > 0);
    if let Some(most) = asked.into_iter().chain(sandbox.memory_max).min() {
        list.put("MemoryMax", most);
        // Swapping pages out would only make the end slower.
        list.put("MemorySwapMax", 0_u64);
    }
    if let Some(bytes) = sandbox.memory_high {
        list.put("MemoryHigh", bytes);
    }
    list.put("TasksMax", sandbox.tasks_max);
    list.put("CPUWeight", u64::from(sandbox.cpu_weight));
    if let Some(percent) = sandbox.cpu_quota {
        list.put("CPUQuotaPerSecUSec", u64::from(percent) * 10_000);
    }
    for (name, networks) in [("IPAddressAllow", &sandbox.ip_allow), ("IPAddressDeny", &sandbox.ip_deny)] {
        if !networks.is_empty() {
            list.put(name, networks.iter().map(address).collect::<Vec<_>>());
        }
    }
    list.put("OOMPolicy", "kill");
}

/// Adds the worker's own folders to write to, which are kept over deploys.
fn folders<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    let name = paths::app_folder(worker.instance, worker.app);
    list.put("StateDirectory", vec![name.clone()]);
    list.put("StateDirectoryMode", 0o700_u32);
    list.put("CacheDirectory", vec![name]);
    list.put("CacheDirectoryMode", 0o700_u32);
    let Some(folder) = own_socket_folder(worker) else {
        list.put("UMask", 0o022_u32);
        return;
    };
    let below_run = folder.strip_prefix("/run/").unwrap_or(&folder).to_owned();
    list.put("RuntimeDirectory", vec![below_run]);
    // The server is another user; all others are kept out by the folder above.
    list.put("RuntimeDirectoryMode", 0o711_u32);
    list.put("UMask", 0_u32);
}

/// The folder in which the worker makes its own socket, where server and worker are different users.
fn own_socket_folder(worker: &WorkerUnit<'_>) -> Option<String> {
    let folder = paths::socket_folder(worker.instance, WorkerId(worker.request.worker));
    (worker.scope == Scope::System && worker.request.binds).then(|| folder.display().to_string())
}

fn identity<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    match &worker.sandbox.user {
        Some(user) => list.put("User", user.clone()),
        None => {
            list.put("DynamicUser", true);
            list.put("User", paths::user_name(worker.instance, worker.app));
        }
    }
}

fn walls<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    list.put("CapabilityBoundingSet", 0_u64);
    list.put("AmbientCapabilities", 0_u64);
    list.put("ProtectSystem", "strict");
    // The homes are empty and not out of reach, so that a folder which the admin allows below a home is seen.
    list.put("ProtectHome", "tmpfs");
    list.put("ProtectProc", "invisible");
    list.put("DevicePolicy", "closed");
    list.put("KeyringMode", "private");
    for name in [
        "PrivateTmp",
        "PrivateDevices",
        "PrivateIPC",
        "RemoveIPC",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
    ] {
        list.put(name, true);
    }
    // Read-only paths are the part of `ProtectKernelTunables` that holds back a user other than root, as every worker
    // is. The files' modes see to the rest, which would take a quarter of the time of the whole sandbox.
    list.put("ReadOnlyPaths", vec!["/proc/sys", "/sys"]);
    list.put("InaccessiblePaths", vec!["-/proc/kallsyms", "-/proc/kcore"]);
    if !worker.sandbox.network {
        list.put("PrivateNetwork", true);
    }
}

/// Shows the unit its own app, and hides other apps and the files of servers.
fn view<'a>(worker: &WorkerUnit<'a>, list: &mut List<'a>) {
    let hidden = worker.hidden.iter().map(PathBuf::as_path);
    let hidden = hidden.chain([paths::SERVERS, paths::APPS].map(Path::new));
    let mut temporary: Vec<(String, String)> =
        hidden.map(|path| (path.display().to_string(), "ro,mode=755".to_owned())).collect();
    // The unit gets a /dev/shm of its own, as it gets a /tmp by `PrivateTmp=`: else any app could read, and fill, the
    // memory that other apps share among their processes.
    temporary.push(("/dev/shm".into(), "mode=1777".into()));
    list.put("TemporaryFileSystem", temporary);
    list.put("InaccessiblePaths", paths::SECRETS.to_vec());

    let notify = worker.request.notifies.then(|| paths::notify_folder(worker.instance));
    let readable = [Some(worker.visible), worker.scripts, notify.as_deref()];
    let readable = readable.into_iter().flatten().map(|path| bind(path.display().to_string()));
    list.put("BindReadOnlyPaths", readable.collect::<Vec<_>>());
    // Folders that the worker may write to are seen even where others are hidden.
    let writable = worker.sandbox.writable.iter().map(|path| path.display().to_string());
    let writable: Vec<_> = writable.chain(own_socket_folder(worker)).map(bind).collect();
    if !writable.is_empty() {
        list.put("BindPaths", writable);
    }
}

/// A bind mount: source, destination, whether a missing source is no error, flags (recursive).
fn bind(path: String) -> (String, String, bool, u64) {
    (path.clone(), path, false, MS_REC)
}

fn address(network: &IpNet) -> (i32, Vec<u8>, u32) {
    let bytes = match network.addr() {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    (bytes.0, bytes.1, u32::from(network.prefix_len()))
}

/// The families of sockets. Netlink is how programs list the machine's addresses.
const FAMILIES: [&str; 4] = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];
/// The kinds of namespaces that may be made: none.
const NO_NAMESPACES: u64 = 0;
const EPERM: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
/// The flag for recursive mounts of mount(2).
const MS_REC: u64 = 16384;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn request() -> StartRequest {
        StartRequest {
            app: "api".into(),
            worker: 7,
            generation: 2,
            directory: "/srv/rip/labs/api/releases/5".into(),
            command: vec!["node".into(), "server.js".into()],
            environment: HashMap::from([("LANG".into(), "C.UTF-8".into()), ("A".into(), "b c".into())]),
            notifies: true,
            binds: false,
            fingerprint: "00ff".into(),
            memory_max: 300 << 20,
            kill_after: 5_000_000,
        }
    }

    fn sandbox() -> Sandbox {
        crate::config::sandbox::read(Path::new("/nowhere/labs-api.toml")).unwrap().sandbox
    }

    fn list(request: &StartRequest, sandbox: &Sandbox, scope: Scope) -> BTreeMap<String, String> {
        let instance = InstanceName::parse("labs-api").unwrap();
        let app = AppName::parse("api").unwrap();
        let worker = WorkerUnit {
            request,
            instance: &instance,
            app: &app,
            sandbox,
            scope,
            hidden: &["/srv/rip".into(), "/opt/shop".into()],
            scripts: None,
            visible: Path::new("/srv/rip/labs/api"),
            program: Path::new("/usr/bin/rip-server"),
            streams: UnitStreams::Journal(None),
        };
        let properties = properties(&worker);
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    }

    #[test]
    fn a_worker_sees_its_own_app_and_no_other() {
        let list = list(&request(), &sandbox(), Scope::System);
        for hidden in ["/srv/rip", "/opt/shop", "/run/rip-server", "/run/rip-apps", "/dev/shm"] {
            assert!(list["TemporaryFileSystem"].contains(&format!("\"{hidden}\"")), "{hidden}");
        }
        let shown = &list["BindReadOnlyPaths"];
        assert!(
            shown.contains("\"/srv/rip/labs/api\"") && shown.contains("\"/run/rip-server/.notify/labs-api\""),
            "{shown}"
        );
        for secret in ["/var/lib/rip-server", "/var/lib/rip-agent", "/var/lib/rip-certs"] {
            assert!(list["InaccessiblePaths"].contains(secret), "{secret}");
        }
        assert!(!list.contains_key("BindPaths"));
    }

    #[test]
    fn a_folder_for_its_own_socket_is_made_with_the_unit() {
        let binds = StartRequest { binds: true, ..request() };
        let by_system = list(&binds, &sandbox(), Scope::System);
        assert_eq!(by_system["RuntimeDirectory"], "[\"rip-apps/labs-api/7\"]");
        assert!(by_system["BindPaths"].contains("\"/run/rip-apps/labs-api/7\""));
        assert!(!list(&binds, &sandbox(), Scope::User).contains_key("RuntimeDirectory"));
    }

    #[test]
    fn every_process_of_a_worker_is_told_to_end_and_has_its_time() {
        for scope in [Scope::System, Scope::User] {
            let list = list(&request(), &sandbox(), scope);
            // With `mixed`, systemd would kill what the first process leaves behind: the program behind a shell.
            assert_eq!(list["KillMode"], "\"control-group\"");
            assert_eq!(list["TimeoutStopUSec"], "uint64 5000000");
        }
    }

    #[test]
    fn the_lower_limit_counts() {
        let mut narrow = sandbox();
        assert_eq!(
            list(&request(), &narrow, Scope::System)["MemoryMax"],
            format!("uint64 {}", 300_u64 << 20)
        );
        narrow.memory_max = Some(1 << 20);
        assert_eq!(list(&request(), &narrow, Scope::System)["MemoryMax"], format!("uint64 {}", 1_u64 << 20));
        let unlimited = StartRequest { memory_max: 0, ..request() };
        assert!(!list(&unlimited, &sandbox(), Scope::System).contains_key("MemoryMax"));
    }

    #[test]
    fn memory_is_slowed_only_where_the_admin_says() {
        assert!(!list(&request(), &sandbox(), Scope::System).contains_key("MemoryHigh"));
        let slowed = Sandbox { memory_high: Some(1 << 20), ..sandbox() };
        assert_eq!(list(&request(), &slowed, Scope::System)["MemoryHigh"], format!("uint64 {}", 1_u64 << 20));
    }

    #[test]
    fn a_user_of_its_own_unless_the_admin_names_one() {
        let by_default = list(&request(), &sandbox(), Scope::System);
        assert_eq!(by_default["DynamicUser"], "true");
        assert!(by_default["User"].starts_with("\"rip-api-"), "{}", by_default["User"]);
        let named = Sandbox { user: Some("blog".into()), ..sandbox() };
        let named = list(&request(), &named, Scope::System);
        assert_eq!((named.get("DynamicUser"), named["User"].as_str()), (None, "\"blog\""));
    }

    #[test]
    fn a_users_systemd_is_asked_for_nothing_that_needs_root() {
        let list = list(&request(), &sandbox(), Scope::User);
        for name in
            ["DynamicUser", "User", "PrivateTmp", "TemporaryFileSystem", "ProtectSystem", "EnvironmentFiles"]
        {
            assert!(!list.contains_key(name), "{name}");
        }
        assert_eq!(list["NoNewPrivileges"], "true");
    }

    #[test]
    fn a_file_of_variables_is_named_literally() {
        for (path, pattern) in [
            ("/etc/rip-server/labs-api.env", "/etc/rip-server/labs-api.env"),
            (r"/etc/rip-server/my\x2dapp.env", r"/etc/rip-server/my\\x2dapp.env"),
            ("/srv/[a] b?*.env", r"/srv/\[a\] b\?\*.env"),
        ] {
            assert_eq!(literally(Path::new(path)), pattern);
        }
    }

    #[test]
    fn the_environment_is_what_was_asked_for_and_who_it_is() {
        let list = list(&request(), &sandbox(), Scope::System);
        for part in ["A=b c", "LANG=C.UTF-8", "RIP_WORKER=7", "RIP_LAUNCH=00ff"] {
            assert!(list["Environment"].contains(part), "{part}: {}", list["Environment"]);
        }
    }
}
