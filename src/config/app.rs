//! One app: what was said of it, and, read anew for every deploy, what that comes to with its own `rip.toml`.
//!
//! Never here: what the directory holds (`apps`), or the server's own settings (`server`).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, named};
use super::file;
use super::layer::{Layer, Stack, either};
use super::origin::{Effective, Origin};
use super::settings::table::Id;
use super::settings::table::Setting;
use super::settings::units::{narrow, non_zero};
use super::settings::value::Value;
use super::words::tokens::alias;
use crate::name::{AppName, HostName};
use crate::pattern::Pattern;
use crate::spec::{Listen, Memory, Protocol, ReadyBy, Recycle, Reload, ReloadSignal, Timeouts, WorkerCount};

/// An app that is to run, and what the command line, the environment and the server's file say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AppRequest {
    /// Its directory or entry file, absolute; links are not followed.
    pub path: PathBuf,
    /// The hosts that follow `@` on the command line; empty: others say.
    pub aliases: Vec<HostName>,
    /// Where the path came from.
    pub origin: Origin,
    pub(crate) words: Layer,
    pub(crate) env: Layer,
    pub(crate) file: Layer,
    /// Whether an app without hosts gets its name as one.
    pub(crate) named_host: bool,
}

/// An app as it is to run, once its own `rip.toml` has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSettings {
    /// Its name.
    pub name: AppName,
    /// Its directory or entry file, absolute; links are not followed.
    pub path: PathBuf,
    /// Hosts that lead to it.
    pub hosts: Vec<HostName>,
    /// Program and arguments; `None`: found by looking at the directory.
    pub command: Option<Vec<String>>,
    /// How a worker gets at its socket; `None`: by what the app is.
    pub listen: Option<Listen>,
    /// Files to serve without a program of its own.
    pub static_site: Option<StaticSettings>,
    /// Variables of the workers' environment.
    pub env: BTreeMap<String, String>,
    /// How many workers.
    pub workers: WorkerCount,
    /// When workers are replaced, of an app that is stateless by nature.
    pub recycle: Recycle,
    /// When workers are replaced, of any other app: only as somebody said.
    pub recycle_if_told: Recycle,
    /// Limits of one worker.
    pub memory: Memory,
    /// Requests that a worker takes at the same time.
    ///
    /// `None`: as many as is natural for what the app is, else one.
    pub concurrency: Option<NonZeroU32>,
    /// Tunnels that a worker may hold.
    pub tunnels: u32,
    /// Whether connections to workers are used again.
    pub keepalive: bool,
    /// What workers speak.
    pub protocol: Protocol,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Asked for until the worker answers.
    pub ready_path: String,
    /// What shows that a worker is ready; `None`: by what the app is.
    pub ready_by: Option<ReadyBy>,
    /// What a change of files does.
    pub reload: Reload,
    /// The signal that makes a worker load the app anew.
    pub reload_signal: Option<ReloadSignal>,
    /// Files whose change counts for `reload` beside that of the entry.
    pub watch: Vec<Pattern>,
    /// Paths whose request bodies are passed on as they arrive.
    pub stream: Vec<String>,
    /// Requests that may wait.
    pub max_queue: usize,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// What is in force, and where it came from.
    pub report: Vec<Effective>,
    /// What is said and has no effect.
    pub warnings: Vec<String>,
}

/// Files to serve without a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticSettings {
    /// The folder, absolute.
    pub root: PathBuf,
    /// The file that stands for its folder.
    pub index: String,
    /// Whether unknown paths get the root's index.
    pub spa: bool,
}

impl AppRequest {
    /// The app's name: what the server's file says, else its directory's name.
    ///
    /// An entry file lends its own name, unless that says nothing (`index`, `main`, `server`, `app`). What may not
    /// stand in a name becomes `-`.
    ///
    /// # Errors
    /// When nothing is left of the name.
    pub fn name(&self) -> Result<AppName, ConfigError> {
        let said = Stack::new([&self.file]).get::<String>(Id::AppName);
        let text = said.unwrap_or_else(|| name_of(&self.path));
        AppName::parse(&text).map_err(|_| ConfigError::Value {
            origin: self.origin.clone(),
            key: "path".into(),
            read: self.path.display().to_string(),
            right: "a directory whose name can be the app's; or set `name` under [app] in a config file"
                .into(),
        })
    }
}

impl AppSettings {
    /// Shows these limits in place of the defaults that do not hold for what the app is.
    pub fn report_recycle(&mut self, recycle: Recycle) {
        let limits = [
            (Id::RecycleRequests, Value::Limit(recycle.requests)),
            (Id::RecycleAge, Value::Age(recycle.age)),
            (Id::RecycleReloads, Value::Limit(recycle.reloads)),
        ];
        for (id, value) in limits {
            let key = Setting::of(id).key();
            if let Some(row) = self.report.iter_mut().find(|row| row.key == key) {
                row.value = value.to_string();
            }
        }
    }
}

/// Reads the app's own `rip.toml` and puts everything said of the app together; done anew for every deploy.
///
/// # Errors
/// An app that is not there, what is wrong in its `rip.toml`, and what excludes each other.
pub fn app_settings(request: &AppRequest) -> Result<AppSettings, ConfigError> {
    let directory = directory(&request.path);
    request.path.metadata().map_err(|source| ConfigError::Unreadable {
        what: "the app".into(),
        path: request.path.clone(),
        source,
    })?;
    let own = file::read_own(&directory.join("rip.toml"))?.unwrap_or_default();
    let stack = Stack::new([&request.words, &request.env, &request.file, &own]);
    let name = request.name()?;
    let hosts = hosts(request, &name, &stack);
    let kind = either(&stack, Id::Command, Id::StaticRoot, "an app is a program or a folder of files")?;
    let variables = stack.variables();
    let static_site = static_site(&stack, &directory).filter(|_| kind != Some(Id::Command));
    let idle = |id| static_site.is_none() && STATIC.contains(&id);
    let mut report = stack.effective(|row| row.is_of_apps() && !REPORTED.contains(&row.id) && !idle(row.id));
    report.push(Effective { key: "hosts".into(), value: joined(&hosts.0), origin: hosts.1 });
    report.extend(variables.iter().map(|(name, there)| Effective {
        key: format!("env.{name}"),
        value: "(set)".into(),
        origin: there.origin.clone(),
    }));
    Ok(AppSettings {
        path: request.path.clone(),
        hosts: hosts.0,
        command: stack.get(Id::Command).filter(|_| kind != Some(Id::StaticRoot)),
        listen: stack.get(Id::Listen),
        static_site,
        env: variables.into_iter().map(|(name, there)| (name, there.value)).collect(),
        workers: stack.want(Id::Workers),
        recycle: Recycle {
            requests: stack.want(Id::RecycleRequests),
            age: stack.want(Id::RecycleAge),
            reloads: stack.want(Id::RecycleReloads),
        },
        recycle_if_told: Recycle {
            requests: stack.told(Id::RecycleRequests).flatten(),
            age: stack.told(Id::RecycleAge).flatten(),
            reloads: stack.told(Id::RecycleReloads).flatten(),
        },
        memory: memory(&stack)?,
        concurrency: stack.get(Id::Concurrency).map(non_zero),
        tunnels: narrow(stack.want(Id::Tunnels)),
        keepalive: stack.want(Id::Keepalive),
        protocol: stack.want(Id::Protocol),
        timeouts: timeouts(&stack),
        ready_path: stack.want(Id::ReadyPath),
        ready_by: stack.get(Id::ReadyBy),
        reload: stack.want(Id::Reload),
        reload_signal: stack.get(Id::ReloadSignal),
        watch: patterns(&stack),
        stream: stack.get(Id::Stream).unwrap_or_default(),
        max_queue: narrow(stack.want(Id::MaxQueue)) as usize,
        max_body: stack.want(Id::MaxBody),
        warnings: warnings(&stack, &name, &report),
        report,
        name,
    })
}

/// The directory of an app that is a directory or a file in one.
pub(crate) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if path.is_file() => folder.into(),
        _ => path.into(),
    }
}

fn name_of(path: &Path) -> String {
    let text = |name: Option<&std::ffi::OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let stem = text(path.file_stem());
    let name = match path.parent() {
        Some(folder) if path.is_file() && NAMELESS.contains(&&*stem) => text(folder.file_name()),
        _ if path.is_file() => stem,
        _ => text(path.file_name()),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).into()
}

fn hosts(request: &AppRequest, name: &AppName, stack: &Stack<'_>) -> (Vec<HostName>, Origin) {
    if !request.aliases.is_empty() {
        return (request.aliases.clone(), request.origin.clone());
    }
    if let Some(said) = stack.find::<Vec<HostName>>(Id::Hosts) {
        return (said.value, said.origin);
    }
    let own = alias(name.as_str()).ok().filter(|_| request.named_host);
    (own.into_iter().collect(), Origin::Default)
}

/// The table takes nothing that is no pattern.
fn patterns(stack: &Stack<'_>) -> Vec<Pattern> {
    let texts: Vec<String> = stack.get(Id::Watch).unwrap_or_default();
    texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
}

fn static_site(stack: &Stack<'_>, directory: &Path) -> Option<StaticSettings> {
    let root = stack.get::<PathBuf>(Id::StaticRoot);
    let told = |id| stack.ranked(id).is_some_and(|(_, there)| there.origin != Origin::Default);
    let wanted =
        root.is_some() || (stack.get::<Vec<String>>(Id::Command).is_none() && STATIC.into_iter().any(told));
    wanted.then(|| StaticSettings {
        root: root.map_or_else(|| directory.into(), |root| directory.join(root)),
        index: stack.want(Id::StaticIndex),
        spa: stack.want(Id::StaticSpa),
    })
}

fn memory(stack: &Stack<'_>) -> Result<Memory, ConfigError> {
    let soft = stack.find::<Option<u64>>(Id::MemorySoft);
    let hard = stack.find::<Option<u64>>(Id::MemoryHard);
    if let (Some(soft), Some(hard)) = (&soft, &hard)
        && let (Some(below), Some(above)) = (soft.value, hard.value)
        && below > above
    {
        return Err(ConfigError::Conflict {
            first: format!("memory.soft of {below} bytes ({})", soft.origin),
            second: format!("memory.hard of {above} bytes ({})", hard.origin),
            why: "workers would be killed before they are replaced; SOFT may not be above HARD".into(),
        });
    }
    Ok(Memory { soft: soft.and_then(|soft| soft.value), hard: hard.and_then(|hard| hard.value) })
}

fn timeouts(stack: &Stack<'_>) -> Timeouts {
    Timeouts {
        queue: stack.want(Id::QueueTimeout),
        connect: stack.want(Id::ConnectTimeout),
        request: stack.want(Id::RequestTimeout),
        body_idle: stack.want(Id::BodyIdleTimeout),
        start: stack.want(Id::StartTimeout),
        drain: stack.want(Id::DrainTimeout),
        kill: stack.want(Id::KillTimeout),
        probation: stack.want(Id::ProbationTimeout),
    }
}

fn warnings(stack: &Stack<'_>, name: &AppName, report: &[Effective]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut idle = |id: Id, why: &str| {
        if let Some((_, there)) = stack.ranked(id).filter(|(_, there)| there.origin != Origin::Default) {
            warnings.push(format!(
                "{} has no effect on {name}: {why}",
                named(Setting::of(id).key(), &there.origin)
            ));
        }
    };
    if stack.want::<Reload>(Id::Reload) != Reload::Module {
        idle(Id::ReloadSignal, "reload is not module");
    }
    if stack.want::<Reload>(Id::Reload) == Reload::None {
        idle(Id::Watch, "reload is none");
    }
    let is_program =
        stack.get::<Vec<String>>(Id::Command).is_some() && stack.get::<PathBuf>(Id::StaticRoot).is_none();
    for id in STATIC.into_iter().filter(|_| is_program) {
        idle(id, "a command is set and static.root is not");
    }
    if report.iter().any(|row| row.key == "hosts" && row.value.is_empty() && row.origin == Origin::Default)
        && alias(name.as_str()).is_err()
    {
        warnings.push(format!("{name} has no host: its name cannot be one; set `hosts`"));
    }
    warnings
}

fn joined(hosts: &[HostName]) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}

const STATIC: [Id; 2] = [Id::StaticIndex, Id::StaticSpa];
/// Shown in another form than the stack's.
const REPORTED: [Id; 4] = [Id::Hosts, Id::Variables, Id::AppName, Id::AppPath];
/// Names of entry files that say nothing of the app.
const NAMELESS: [&str; 4] = ["index", "main", "server", "app"];
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &Path) -> AppRequest {
        AppRequest {
            path: path.into(),
            aliases: Vec::new(),
            origin: Origin::Flag("x".into()),
            words: Layer::default(),
            env: Layer::default(),
            file: Layer::default(),
            named_host: true,
        }
    }

    #[test]
    fn an_app_is_called_as_its_directory_or_its_entry_file() {
        let folder = tempfile::tempdir().unwrap();
        for (path, file, name) in [
            ("blog", false, Some("blog")),
            ("my app", false, Some("my-app")),
            (".hidden", false, Some("hidden")),
            ("grüße", false, Some("gr--e")),
            ("api/server.js", true, Some("api")),
            ("api/index.ts", true, Some("api")),
            ("api/hello.py", true, Some("hello")),
            ("___", false, None),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(if file { path.parent().unwrap() } else { &path }).unwrap();
            if file {
                std::fs::write(&path, "").unwrap();
            }
            let found = request(&path).name().ok().map(|found| found.to_string());
            assert_eq!(found.as_deref(), name, "{}", path.display());
        }
    }

    #[test]
    fn an_entry_file_has_the_settings_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hello.py"), "").unwrap();
        std::fs::write(folder.path().join("rip.toml"), "workers = 3\nstatic.spa = true").unwrap();
        let settings = app_settings(&request(&folder.path().join("hello.py"))).unwrap();
        assert_eq!(settings.workers.to_string(), "3");
        let site = StaticSettings { root: folder.path().into(), index: "index.html".into(), spa: true };
        assert_eq!(settings.static_site, Some(site));
    }

    #[test]
    fn variables_of_all_files_come_together() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rip.toml"), "env = { A = 'own', B = 'own' }").unwrap();
        let mut request = request(folder.path());
        let text = "[app]\nenv = { B = 'admin', C = 'admin' }";
        request.file = file::parse_server(Path::new("/x.toml"), text).unwrap().app;
        let env = app_settings(&request).unwrap().env;
        let pairs: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "own"), ("B", "admin"), ("C", "admin")]);
    }

    #[test]
    fn a_soft_limit_above_another_file_s_hard_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rip.toml"), "memory = '2G'").unwrap();
        let mut request = request(folder.path());
        request.file = file::parse_server(Path::new("/x.toml"), "[app]\nmemory = ',1G'").unwrap().app;
        let error = app_settings(&request).unwrap_err().to_string();
        assert!(error.contains("rip.toml:1:10") && error.contains("/x.toml:2:10"), "{error}");
    }

    #[test]
    fn an_app_that_is_not_there_is_said_so() {
        let error = app_settings(&request(Path::new("/no/such/app"))).unwrap_err().to_string();
        assert_eq!(error, "cannot read the app /no/such/app: No such file or directory (os error 2)");
    }

    #[test]
    fn a_name_that_is_no_host_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a..b");
        std::fs::create_dir(&path).unwrap();
        let settings = app_settings(&request(&path)).unwrap();
        assert_eq!(settings.hosts, []);
        assert_eq!(settings.warnings, ["a..b has no host: its name cannot be one; set `hosts`"]);
    }
}
