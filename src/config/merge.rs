//! Makes a [`Config`] of the words: finds the config file, the apps and the instance's name, and asks every layer in
//! order.
//!
//! Command line, then environment, then the server's file, then the app's own file, then the default. Never here: how
//! a word or a file is read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::app::AppRequest;
use super::error::ConfigError;
use super::file::{self, ServerFile};
use super::folders::{self, Folders};
use super::generated_docs::{self, usage};
use super::layer::{Layer, Stack};
use super::machine::{ProcessContext, is_one_entry};
use super::value_origin::{Effective, ValueOrigin};
use super::words::client::CtlCall;
use super::words::command::{InnerProgram, Subcommand};
use super::words::command_line;
use super::words::command_line::Parsed;
use super::words::tokens::{AppWord, Tokens};
use super::{env, instance, server};
use crate::name::InstanceName;
use crate::spec::ServerSpec;
use crate::spec::settings::sections::Values;
use crate::spec::settings::table::Id;

/// The task for which the program was started.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Print this text on standard output and exit with 0.
    Print(String),
    /// Run one of the inner programs, with these words.
    Inner(InnerProgram, Vec<OsString>),
    /// Do what `rip-serverctl` does for these words.
    Client {
        /// The words behind the program's name.
        words: Vec<OsString>,
        /// A note on how an ambiguous word was understood.
        note: Option<String>,
    },
    /// Any other call.
    Config(Box<Config>),
}

/// All settings, put together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) command: Subcommand,
    pub(crate) server: ServerSpec,
    /// The apps, the main one first; for [`Subcommand::Run`] and [`Subcommand::Check`] at least one.
    pub(crate) apps: Vec<AppRequest>,
    /// Whether [`Subcommand::Check`] is to show defaults, too.
    pub(crate) all: bool,
    /// The config file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The server's settings in force, and where each came from.
    pub(crate) report: Vec<Effective>,
    /// The settings without effect, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// The settings of all apps on the command line.
    pub(crate) words: Layer,
    /// The settings of all apps in the environment.
    pub(crate) env: Layer,
}

impl Config {
    /// The app of that path, which may be added while the server runs.
    ///
    /// An app that the config names has all its settings there. Any other app gets what the environment and the flags
    /// set for all apps, and none of the main app's tokens (`w:`, `r:`, `c:`, `@`) and keys; its only hosts are those
    /// that it is given and those of its own `rip.toml`.
    pub(crate) fn app_at(&self, path: &Path) -> AppRequest {
        if let Some(known) = self.apps.iter().find(|known| known.path == path) {
            return known.clone();
        }
        AppRequest {
            path: path.into(),
            aliases: Vec::new(),
            origin: ValueOrigin::Default,
            words: self.words.clone(),
            env: self.env.clone(),
            file: Layer::default(),
            named_host: false,
        }
    }
}

/// Reads the words after the program's name, the environment and the config file.
///
/// # Errors
/// The first setting that is unknown, wrong, missing or contradictory; [`ConfigError::exit_code`] says what to exit
/// with.
pub(crate) fn read(words: &[OsString], machine: &ProcessContext) -> Result<Invocation, ConfigError> {
    let exists = |path: &Path| machine.directory.join(path).exists();
    match command_line::parse(&instance::found_among(words)?, &exists)? {
        Parsed::GeneratedDoc(page) => Ok(Invocation::Print(generated_docs::doc_text::text(page))),
        Parsed::Inner(inner, words) => Ok(Invocation::Inner(inner, words)),
        Parsed::Client(client) => client_words(*client, machine),
        Parsed::Words(tokens) => config(*tokens, machine).map(|config| Invocation::Config(Box::new(config))),
    }
}

/// The words for `rip-serverctl`. When an app or a folder was named, the socket is added; else `rip-serverctl` looks
/// for the server.
fn client_words(client: CtlCall, machine: &ProcessContext) -> Result<Invocation, ConfigError> {
    let CtlCall { mut words, app, layer, note } = client;
    if app.is_some() || layer != Layer::default() {
        let command = Subcommand::List;
        let config = config(Tokens { command, app, layer, all: false, note: None }, machine)?;
        words.push(format!("--socket={}", config.server.control_socket.display()).into());
    }
    Ok(Invocation::Client { words, note })
}

fn config(tokens: Tokens, machine: &ProcessContext) -> Result<Config, ConfigError> {
    let (env, mut warnings) = env::read(&machine.variables)?;
    let path = config_file(machine, &tokens, &env)?;
    let file = match &path {
        Some(path) => file::read_server(path)?,
        None => ServerFile::default(),
    };
    let stack = Stack::new([&tokens.layer, &env, &file.server]);
    let words = tokens.layer.only(|row| !row.is_of_main_app());
    let finder = AppFinder { machine, tokens: &tokens, env: &env, words: &words };
    let apps = finder.apps(&file, &stack)?;
    let (instance, folders) = match tokens.command {
        Subcommand::Run | Subcommand::Check => {
            let first = apps.first().ok_or_else(|| ConfigError::NoApp { usage: usage::usage() })?;
            let instance = instance_of(&stack, first)?;
            let folders = Folders::of_server(machine, &stack, instance.as_str())?;
            (instance, folders)
        }
        Subcommand::Stop | Subcommand::List | Subcommand::Add(_) | Subcommand::Remove(_) => {
            let instance = meant(machine, &stack, apps.first())?;
            let folders = Folders::of_client(machine, &stack, instance.as_str())?;
            (instance, folders)
        }
    };
    let most = |app: &AppRequest| {
        let of_paths = app.file.paths().filter_map(|(_, table)| Stack::new([table]).told::<u64>(Id::MaxBody));
        let of_app = Stack::new([&app.words, &app.env, &app.file]).typed::<u64>(Id::MaxBody);
        of_paths.fold(of_app, u64::max)
    };
    let largest_body = apps.iter().map(most).max().unwrap_or_default();
    let server = server::spec(machine, &stack, instance, &folders, largest_body)?;
    if matches!(tokens.command, Subcommand::Run | Subcommand::Check) {
        server::check_files(&server)?;
    }
    warnings.extend(server::warnings(&stack, &server));
    warnings.extend(tokens.note.clone());
    Ok(Config {
        all: tokens.all,
        report: server::report(&stack, &server, &folders),
        command: tokens.command.clone(),
        file: path,
        server,
        apps,
        warnings,
        words,
        env,
    })
}

/// The file that `--config` names, which must exist, else the instance's file if that exists.
fn config_file(
    machine: &ProcessContext,
    tokens: &Tokens,
    env: &Layer,
) -> Result<Option<PathBuf>, ConfigError> {
    let stack = Stack::new([&tokens.layer, env]);
    if let Some(path) = stack.told::<PathBuf>(Id::ConfigFile) {
        return Ok(Some(machine.absolute(&path)));
    }
    let name = match (stack.told::<String>(Id::Instance), &tokens.app) {
        (Some(instance), _) => instance,
        (None, Some(app)) if machine.is_service() => {
            AppFinder { machine, tokens, env, words: &Layer::default() }.main(app).name()?.to_string()
        }
        _ => return Ok(None),
    };
    let path = machine.etc.join(format!("{name}.toml"));
    match path.try_exists() {
        Ok(there) => Ok(there.then_some(path)),
        Err(source) => Err(ConfigError::Unreadable { what: "the config file".into(), path, source }),
    }
}

fn instance_of(stack: &Stack<'_>, first: &AppRequest) -> Result<InstanceName, ConfigError> {
    let said = stack.told::<String>(Id::Instance);
    let text = said.map_or_else(|| first.name().map(|name| name.to_string()), Ok)?;
    Ok(InstanceName::parse(&text).expect("what names an app or was read as an instance names an instance"))
}

/// The running server that a client means: the named one, else the only one there is.
fn meant(
    machine: &ProcessContext,
    stack: &Stack<'_>,
    app: Option<&AppRequest>,
) -> Result<InstanceName, ConfigError> {
    if let Some(app) = app {
        return Ok(spelled_as_it_runs(machine, stack, instance_of(stack, app)?));
    }
    let folder = stack.told::<PathBuf>(Id::RuntimeDir);
    let from_folder =
        folder.as_ref().map(|folder| folder.file_name().unwrap_or_default().to_string_lossy().into());
    let name = match stack.told::<String>(Id::Instance).or(from_folder) {
        Some(name) => name,
        None => the_only(folders::running(machine))?,
    };
    let name = InstanceName::parse(&name)
        .map_err(|_| ConfigError::WhichServer { found: format!("`{name}` is no instance's name") })?;
    Ok(spelled_as_it_runs(machine, stack, name))
}

/// The name, or, when no server answers to it, the same name with the dashes as the one answering server writes them.
fn spelled_as_it_runs(machine: &ProcessContext, stack: &Stack<'_>, name: InstanceName) -> InstanceName {
    let there = |folders: Folders| folders.control.exists();
    if Folders::of_client(machine, stack, name.as_str()).is_ok_and(there) {
        return name;
    }
    let running = folders::running(machine).into_iter().filter_map(|other| InstanceName::parse(&other).ok());
    let mut spelled = running.filter(|other| other.is_spelled_as(&name));
    match (spelled.next(), spelled.next()) {
        (Some(one), None) => one,
        _ => name,
    }
}

fn the_only(mut names: Vec<String>) -> Result<String, ConfigError> {
    match (names.pop(), names.len()) {
        (Some(name), 0) => Ok(name),
        (None, _) => {
            Err(ConfigError::WhichServer { found: "no control socket is where they usually are".into() })
        }
        (Some(last), _) => {
            Err(ConfigError::WhichServer { found: format!("these run: {}, {last}", names.join(", ")) })
        }
    }
}

struct AppFinder<'a> {
    machine: &'a ProcessContext,
    tokens: &'a Tokens,
    env: &'a Layer,
    /// The settings of all apps on the command line.
    words: &'a Layer,
}

impl AppFinder<'_> {
    /// The apps, the main one first; no two of the same path or name.
    fn apps(&self, file: &ServerFile, stack: &Stack<'_>) -> Result<Vec<AppRequest>, ConfigError> {
        let mut apps = Vec::new();
        apps.extend(self.main_app(file, stack)?);
        for layer in &file.apps {
            let app = self.of_file(layer);
            match apps.first_mut().filter(|main: &&mut AppRequest| is_one_entry(&main.path, &app.path)) {
                // When `rip-server DIR` meets an [[apps]] table of that DIR, the table is the main app's.
                Some(main) if main.file == Layer::default() => main.file = layer.clone(),
                _ => apps.push(app),
            }
        }
        if let Some(first) = apps.first_mut() {
            first.words = self.tokens.layer.clone();
        }
        distinct(&apps)?;
        Ok(apps)
    }

    fn main_app(&self, file: &ServerFile, stack: &Stack<'_>) -> Result<Option<AppRequest>, ConfigError> {
        if let Some(word) = &self.tokens.app {
            let mut main = self.main(word);
            main.file = file.app.only(|row| row.id != Id::AppPath);
            return Ok(Some(main));
        }
        if file.app.get(Id::AppPath).is_some() {
            return Ok(Some(self.of_file(&file.app)));
        }
        let Some(instance) = stack.find::<String>(Id::Instance) else {
            return match file.app.first_not(|_| false) {
                None => Ok(None),
                Some(there) => Err(ConfigError::Incomplete {
                    first: format!("[app] ({})", there.origin),
                    second: "`path = …`, or an app on the command line,".into(),
                }),
            };
        };
        if !file.apps.is_empty() && file.app == Layer::default() {
            return Ok(None);
        }
        // A command that talks to a running server needs no app.
        let is_to_run = matches!(self.tokens.command, Subcommand::Run | Subcommand::Check);
        let path = match instance::folder(&self.machine.apps, &instance.value) {
            Err(ConfigError::SeveralFolders { there, .. }) if !is_to_run => {
                there.into_iter().next().unwrap_or_default()
            }
            found => found?,
        };
        Ok(Some(self.request(path, instance.origin, file.app.clone())))
    }

    fn main(&self, word: &AppWord) -> AppRequest {
        let path = self.machine.absolute(&word.path);
        let mut main = self.request(path, ValueOrigin::Flag(word.word.clone()), Layer::default());
        main.aliases = word.aliases.clone();
        main
    }

    fn of_file(&self, layer: &Layer) -> AppRequest {
        let there = Stack::new([layer]).find::<PathBuf>(Id::AppPath);
        let (path, origin) =
            there.map_or((PathBuf::new(), ValueOrigin::Default), |there| (there.value, there.origin));
        self.request(self.machine.absolute(&path), origin, layer.only(|row| row.id != Id::AppPath))
    }

    fn request(&self, path: PathBuf, origin: ValueOrigin, file: Layer) -> AppRequest {
        AppRequest {
            path,
            aliases: Vec::new(),
            origin,
            words: self.words.clone(),
            env: self.env.clone(),
            file,
            named_host: true,
        }
    }
}

fn distinct(apps: &[AppRequest]) -> Result<(), ConfigError> {
    for (index, app) in apps.iter().enumerate() {
        let name = app.name()?;
        for other in &apps[..index] {
            let same = is_one_entry(&other.path, &app.path) || other.name()? == name;
            if same {
                return Err(ConfigError::Conflict {
                    first: format!("app `{}` ({})", other.name()?, other.origin),
                    second: format!("app `{name}` ({})", app.origin),
                    why: "each app has a path and a name of its own; set `name` under [[apps]]".into(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
