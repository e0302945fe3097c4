//! Owns the settings of one app: those that words, variables and the server's file have for it, and, read anew for
//! every deploy, the result of these with the app's own `rip.toml`.
//!
//! Never here: what the directory holds (`apps`), or the server's own settings (`server`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, named};
use super::field_sums::field_sums;
use super::file;
use super::layer::{Layer, Stack, either};
use super::value_origin::{Effective, ValueOrigin};
use super::words::tokens::alias;
use crate::name::{AppName, RouteName};
use crate::pattern::Pattern;
use crate::spec::setting_types::Choice;
use crate::spec::settings::sections::Values;
use crate::spec::settings::setting_value::SettingValue;
use crate::spec::settings::table::{Id, Setting};
use crate::spec::{
    ByPath, JobSettings, Memory, PhpSettings, ProgramSettings, Protocol, Recycle, Reload, Rules,
    StaticSettings, Upkeep, WorkerRange,
};

/// An app that is to run, with its settings from the command line, the environment and the server's file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppRequest {
    /// The app's directory or entry file, absolute; its links are not followed.
    pub(crate) path: PathBuf,
    /// The hosts behind `@` on the command line; empty: other places name the hosts.
    pub(super) aliases: Vec<RouteName>,
    /// Where the path came from.
    pub(crate) origin: ValueOrigin,
    pub(crate) words: Layer,
    pub(crate) env: Layer,
    pub(crate) file: Layer,
    /// Whether an app without hosts gets its name as one.
    pub(crate) named_host: bool,
}

/// An app as it is to run, once its own `rip.toml` has been read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AppSettings {
    pub(crate) name: AppName,
    /// The app's directory or entry file, absolute; its links are not followed.
    pub(crate) path: PathBuf,
    /// The hosts that lead to the app.
    pub(crate) hosts: Vec<RouteName>,
    /// The kind of the app, where a setting names it.
    pub(crate) program: ProgramSettings,
    /// Files to serve without a program of its own; the root is absolute.
    pub(crate) static_site: Option<StaticSettings>,
    /// Variables of the workers' environment.
    pub(crate) env: BTreeMap<String, String>,
    /// The folder of a PHP app that requests reach.
    pub(crate) php: PhpSettings,
    /// Values for PHP beside those of its own `php.ini`.
    pub(crate) php_ini: BTreeMap<String, String>,
    /// How the app's workers are kept.
    pub(crate) upkeep: Upkeep,
    /// The jobs that run beside the app's workers.
    pub(crate) jobs: JobSettings,
    /// Whether a setting says how many workers.
    pub(crate) workers_told: bool,
    /// The files whose change counts for `reload` beside that of the entry.
    pub(crate) watch: Vec<Pattern>,
    /// When workers are replaced, for an app that is stateless by nature.
    pub(crate) recycle: Recycle,
    /// When workers are replaced, for any other app: only what settings say.
    pub(crate) recycle_if_told: Recycle,
    pub(crate) memory: Memory,
    /// The settings for the data path; without `concurrency` where that depends on what the app is.
    pub(crate) rules: Rules,
    /// The settings in force, and where each came from.
    pub(crate) report: Vec<Effective>,
    /// The settings without effect, a sentence each.
    pub(crate) warnings: Vec<String>,
}

impl AppRequest {
    /// The app's name: what the server's file says, else its directory's name.
    ///
    /// An entry file lends its own name, unless that says nothing (`index`, `main`, `server`, `app`). A folder called
    /// `current` lends the name of the one that holds it. Characters that may not stand in a name become `-`.
    ///
    /// # Errors
    /// When nothing is left of the name.
    pub(crate) fn name(&self) -> Result<AppName, ConfigError> {
        let said = Stack::new([&self.file]).told::<String>(Id::AppName);
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
    /// Reports this number of workers in place of the default, which does not hold for what the app is.
    pub(crate) fn report_workers(&mut self, workers: WorkerRange) {
        if let Some(row) = self.report.iter_mut().find(|row| row.key == Setting::of(Id::Workers).key()) {
            row.value = workers.to_string();
        }
    }

    /// Reports what workers speak where that follows from what the app is.
    pub(crate) fn report_protocol(&mut self, protocol: Protocol) {
        if let Some(row) = self.report.iter_mut().find(|row| row.key == Setting::of(Id::Protocol).key()) {
            let word = Protocol::WORDS.iter().find(|word| Protocol::of_word(word) == Some(protocol));
            row.value = word.copied().unwrap_or_default().to_owned();
        }
    }

    /// Reports these limits in place of the defaults, which do not hold for what the app is.
    pub(crate) fn report_recycle(&mut self, recycle: Recycle) {
        let limits = [
            (Id::RecycleRequests, recycle.requests.map(SettingValue::Count)),
            (Id::RecycleAge, recycle.age.map(SettingValue::Time)),
            (Id::RecycleReloads, recycle.reloads.map(SettingValue::Count)),
        ];
        for (id, value) in limits {
            let key = Setting::of(id).key();
            if let Some(row) = self.report.iter_mut().find(|row| row.key == key) {
                row.value = value.as_ref().unwrap_or(&SettingValue::Off).to_string();
            }
        }
    }
}

/// Reads the app's own `rip.toml`, and puts all settings of the app together; done anew for every deploy.
///
/// # Errors
/// When the app does not exist, its `rip.toml` is wrong, or settings exclude each other.
pub(crate) fn app_settings(request: &AppRequest) -> Result<AppSettings, ConfigError> {
    let directory = directory(&request.path);
    request.path.metadata().map_err(|source| ConfigError::Unreadable {
        what: "the app".into(),
        path: request.path.clone(),
        source,
    })?;
    let own = file::read_own(&directory.join("rip.toml"))?.unwrap_or_default();
    let layers = [&request.words, &request.env, &request.file, &own];
    let fields = field_sums(layers.into_iter());
    let stack = Stack::new([&fields].into_iter().chain(layers));
    let name = request.name()?;
    let mut hosts = hosts(request, &name, &stack);
    let kind = either(&stack, Id::Command, Id::StaticRoot, "an app is a program or a folder of files")?;
    let (variables, ini) = (stack.table(Id::Variables), stack.table(Id::PhpIni));
    let static_site = static_site(&stack, &directory).filter(|_| kind != Some(Id::Command));
    let idle = |id| static_site.is_none() && STATIC.contains(&id);
    let mut report = stack.effective(|row| row.is_of_apps() && !REPORTED.contains(&row.id) && !idle(row.id));
    report.push(Effective { key: "hosts".into(), value: joined(&hosts.0), origin: hosts.1 });
    let (tables, of_paths) = path_tables(&layers);
    let rules = Rules { tables, ..Rules::read(&stack) };
    hosts.0.extend(rules.redirects.hosts().cloned().map(RouteName::from));
    report.extend(of_paths);
    report.extend(variables.iter().map(|(name, there)| Effective {
        key: format!("env.{name}"),
        value: "(set)".into(),
        origin: there.origin.clone(),
    }));
    report.extend(ini.iter().map(|(name, there)| Effective {
        key: format!("php.ini.{name}"),
        value: there.value.clone(),
        origin: there.origin.clone(),
    }));
    Ok(AppSettings {
        path: request.path.clone(),
        hosts: hosts.0,
        program: ProgramSettings {
            command: stack.typed::<Option<_>>(Id::Command).filter(|_| kind != Some(Id::StaticRoot)),
            ..ProgramSettings::read(&stack)
        },
        static_site,
        env: variables.into_iter().map(|(name, there)| (name, there.value)).collect(),
        php: PhpSettings::read(&stack),
        php_ini: ini.into_iter().map(|(name, there)| (name, there.value)).collect(),
        upkeep: Upkeep::read(&stack),
        jobs: JobSettings::read(&stack),
        workers_told: stack.told::<WorkerRange>(Id::Workers).is_some(),
        watch: stack.typed(Id::Watch),
        recycle: Recycle::read(&stack),
        recycle_if_told: Recycle {
            requests: stack.told(Id::RecycleRequests).flatten(),
            age: stack.told(Id::RecycleAge).flatten(),
            reloads: stack.told(Id::RecycleReloads).flatten(),
        },
        memory: memory(&stack)?,
        rules,
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
        Some(folder) if path.is_file() && NAMELESS.contains(&&*stem) => text(telling(folder).file_name()),
        _ if path.is_file() => stem,
        _ => text(telling(path).file_name()),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = name.chars().map(plain).take(LONGEST_NAME).collect();
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).into()
}

/// The folder whose name says what the app is: not the link to the serving release, but the folder that holds it.
fn telling(folder: &Path) -> &Path {
    let above = folder.parent().filter(|above| folder.ends_with(RELEASE_LINK) && above.file_name().is_some());
    above.unwrap_or(folder)
}

fn hosts(request: &AppRequest, name: &AppName, stack: &Stack<'_>) -> (Vec<RouteName>, ValueOrigin) {
    if !request.aliases.is_empty() {
        return (request.aliases.clone(), request.origin.clone());
    }
    if let Some(said) = stack.find::<Vec<RouteName>>(Id::Hosts) {
        return (said.value, said.origin);
    }
    let own = alias(name.as_str()).ok().filter(|_| request.named_host);
    (own.into_iter().collect(), ValueOrigin::Default)
}

/// The settings for some paths of the app, and the report of them. For a path each place is asked from the longest
/// prefix on, before the next place is asked.
fn path_tables(layers: &[&Layer]) -> (ByPath<Rules>, Vec<Effective>) {
    let paths: BTreeSet<_> =
        layers.iter().flat_map(|layer| layer.paths()).map(|(prefix, _)| prefix).collect();
    let mut report = Vec::new();
    let tables = paths.into_iter().map(|path| {
        let tables = layers.iter().flat_map(|layer| layer.paths()).filter(|(prefix, _)| *prefix == path);
        let said = Stack::new(tables.map(|(_, table)| table)).effective(|_| true);
        let said = said.into_iter().filter(|row| row.origin != ValueOrigin::Default);
        report.extend(said.map(|row| Effective { key: format!("route.\"{path}\".{}", row.key), ..row }));
        let asked: Vec<_> = layers.iter().flat_map(|layer| layer.at(path)).collect();
        let fields = field_sums(asked.iter().copied());
        let rules = Rules::read(&Stack::new([&fields].into_iter().chain(asked)));
        (path.clone(), Arc::new(rules))
    });
    (ByPath::new(tables.collect()), report)
}

fn static_site(stack: &Stack<'_>, directory: &Path) -> Option<StaticSettings> {
    let said = StaticSettings::read(stack);
    let told = |id| stack.ranked(id).is_some_and(|(_, there)| there.origin != ValueOrigin::Default);
    let wanted = said.root.is_some() || (stack.value(Id::Command).is_none() && STATIC.into_iter().any(told));
    let root = said.root.as_ref().map_or_else(|| directory.into(), |root| directory.join(root));
    wanted.then_some(StaticSettings { root: Some(root), ..said })
}

fn memory(stack: &Stack<'_>) -> Result<Memory, ConfigError> {
    let memory = Memory::read(stack);
    if let (Some(below), Some(above)) = (memory.soft, memory.hard)
        && below > above
        && let (Some((_, soft)), Some((_, hard))) =
            (stack.ranked(Id::MemorySoft), stack.ranked(Id::MemoryHard))
    {
        return Err(ConfigError::Conflict {
            first: format!("memory.soft of {below} bytes ({})", soft.origin),
            second: format!("memory.hard of {above} bytes ({})", hard.origin),
            why: "workers would be killed before they are replaced; SOFT may not be above HARD".into(),
        });
    }
    Ok(memory)
}

fn warnings(stack: &Stack<'_>, name: &AppName, report: &[Effective]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut idle = |id: Id, why: &str| {
        if let Some((_, there)) = stack.ranked(id).filter(|(_, there)| there.origin != ValueOrigin::Default) {
            warnings.push(format!(
                "{} has no effect on {name}: {why}",
                named(Setting::of(id).key(), &there.origin)
            ));
        }
    };
    let reload = stack.typed::<Reload>(Id::Reload);
    if reload != Reload::Module {
        idle(Id::ReloadSignal, "reload is not module");
    }
    if reload == Reload::None {
        idle(Id::Watch, "reload is none");
    }
    if stack.typed::<WorkerRange>(Id::Workers).is_fixed() {
        for id in [Id::WorkersQuiet, Id::MemoryTotal] {
            idle(id, "workers is no range such as 2..8");
        }
    }
    let is_program = stack.value(Id::Command).is_some() && stack.value(Id::StaticRoot).is_none();
    for id in STATIC.into_iter().filter(|_| is_program) {
        idle(id, "a command is set and static.root is not");
    }
    if stack.value(Id::Command).is_some() || stack.value(Id::StaticRoot).is_some() {
        idle(Id::PhpRoot, "a command or static.root is set");
    }
    if report
        .iter()
        .any(|row| row.key == "hosts" && row.value.is_empty() && row.origin == ValueOrigin::Default)
        && alias(name.as_str()).is_err()
    {
        warnings.push(format!("{name} has no host: its name cannot be one; set `hosts`"));
    }
    warnings
}

fn joined(hosts: &[RouteName]) -> String {
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const STATIC: [Id; 2] = [Id::StaticIndex, Id::StaticSpa];
/// The settings that the report shows in another form than the stack's.
const REPORTED: [Id; 6] = [Id::Hosts, Id::Variables, Id::PhpIni, Id::AppName, Id::AppPath, Id::Tables];
/// The name that deployment tools give the link to the serving release.
const RELEASE_LINK: &str = "current";
/// The names of entry files that say nothing of the app.
const NAMELESS: [&str; 4] = ["index", "main", "server", "app"];
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &Path) -> AppRequest {
        AppRequest {
            path: path.into(),
            aliases: Vec::new(),
            origin: ValueOrigin::Flag("x".into()),
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
            ("shop/current", false, Some("shop")),
            ("shop/current/server.js", true, Some("shop")),
            ("shop/current/hello.py", true, Some("hello")),
            ("shop/current/web", false, Some("web")),
            ("shop/current.js", true, Some("current")),
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
        assert_eq!(settings.upkeep.workers.to_string(), "3");
        let site = StaticSettings { root: Some(folder.path().into()), index: "index.html".into(), spa: true };
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
