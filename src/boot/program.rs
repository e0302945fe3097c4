//! The program `rip-server`: it reads its words, does what they ask for, and returns an exit code. 0: ended in order;
//! 1: failed; 2: bad usage or config.
//!
//! Never here: reading words (`config`), or serving.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::apps::static_worker;
use crate::backend::child::reaper;
use crate::backend::shim;
use crate::certs::CertError;
use crate::config::app::app_settings;
use crate::config::asked_apps::check_asked_apps;
use crate::config::error::ConfigError;
use crate::config::machine::ProcessContext;
use crate::config::merge::{self, Config, Invocation};
use crate::config::report::{report_json, report_text};
use crate::config::shadowed_routes::shadowed_routes;
use crate::config::words::command::{InnerProgram, Subcommand};
use crate::{ctl, logging};

/// Does what the words after the program's name ask for.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let machine = match ProcessContext::this() {
        Ok(machine) => machine,
        Err(error) => return failed(&format!("cannot read the working directory: {error}")),
    };
    match merge::read(&words, &machine) {
        Err(error) => refused(&error),
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::Inner(InnerProgram::Exec, words)) => shim::run_shim(words),
        Ok(Invocation::Inner(InnerProgram::Guard, words)) => reaper::run_reaper(words),
        Ok(Invocation::Inner(InnerProgram::Static, words)) => static_worker::run_words(words),
        Ok(Invocation::Client { words, note }) => {
            note.iter().for_each(|note| complain(note));
            ExitCode::from(ctl::run_words(words))
        }
        Ok(Invocation::Config(config)) => obey(*config, &machine),
    }
}

fn obey(config: Config, machine: &ProcessContext) -> ExitCode {
    match &config.command {
        Subcommand::Run => serve(config, machine),
        Subcommand::Check => check(config, machine),
        Subcommand::Stop => steer(&config, &["stop"]),
        Subcommand::List => steer(&config, &["list"]),
        Subcommand::Add(host) => steer(&config, &["add", &host.to_string()]),
        Subcommand::Remove(host) => steer(&config, &["remove", &host.to_string()]),
    }
}

/// Serves. Errors in an app's own file are bad config, like those in the server's.
fn serve(mut config: Config, machine: &ProcessContext) -> ExitCode {
    if let Some(why) = super::missing(&config, machine.is_service_of_the_system()) {
        complain(&why);
        return ExitCode::from(2);
    }
    let apps = config.apps.iter().map(app_settings).collect::<Result<Vec<_>, _>>();
    match apps.and_then(|apps| Ok((check_asked_apps(&apps)?, apps))) {
        Err(error) => return refused(&error),
        Ok((missing, apps)) => config.warnings.extend(shadowed_routes(&apps).into_iter().chain(missing)),
    }
    match super::serve_config(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&in_full(&error));
            // A named certificate that cannot be used is bad config, too.
            let named = error.downcast_ref().is_some_and(CertError::is_of_what_was_given);
            if named { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Prints the settings. The settings are shown also when the directory is no app.
fn check(mut config: Config, machine: &ProcessContext) -> ExitCode {
    config.warnings.extend(super::left_to_systemd(&config, &machine.etc, &machine.apps));
    if let Some(why) = super::missing(&config, false) {
        complain(&why);
        return ExitCode::from(2);
    }
    let mut apps: Vec<_> = match config.apps.iter().map(app_settings).collect() {
        Err(error) => return refused(&error),
        Ok(apps) => apps,
    };
    match check_asked_apps(&apps) {
        Err(error) => return refused(&error),
        Ok(missing) => config.warnings.extend(shadowed_routes(&apps).into_iter().chain(missing)),
    }
    let config = &config;
    let described = super::describe(config);
    let runs = described.as_deref().unwrap_or_default();
    for (app, run) in apps.iter_mut().zip(runs).filter(|(app, run)| app.recycle != run.recycle) {
        app.report_recycle(run.recycle);
    }
    for (app, run) in apps.iter_mut().zip(runs) {
        app.report_workers(run.upkeep.workers);
        app.report_protocol(run.rules.protocol);
        app.warnings.extend(run.warnings.iter().cloned());
    }
    let backend = super::describe_backend(config);
    let unreadable = super::unreadable(config, &machine.etc, &machine.apps);
    let seen = if config.server.log.json {
        let mut report = report_json(config, &apps, runs);
        report["workers"] = backend.into();
        print(&format!("{report:#}\n"))
    } else {
        let printed = print(&format!("{}\n{backend}\n", report_text(config, &apps, runs)));
        described.as_ref().map_or_else(|error| failed(&in_full(error)), |_| printed)
    };
    unreadable.iter().for_each(|why| complain(why));
    // The exit code is that of a file which the caller cannot read.
    if unreadable.is_empty() { seen } else { ExitCode::from(2) }
}

/// Does what `rip-serverctl` does, with this server's control socket.
fn steer(config: &Config, verb: &[&str]) -> ExitCode {
    let mut words: Vec<OsString> = verb.iter().map(Into::into).collect();
    words.push(format!("--socket={}", config.server.control_socket.display()).into());
    if config.server.log.json {
        words.push("--json".into());
    }
    ExitCode::from(ctl::run_words(words))
}

/// Prints a text. A reader that closes the pipe early is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => failed(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}

fn refused(error: &ConfigError) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(error.exit_code())
}

/// An error with its causes, none of them twice.
fn in_full(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        said if said.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

fn failed(text: &str) -> ExitCode {
    complain(text);
    ExitCode::FAILURE
}

/// Writes to standard error, but not for ever: a terminal may be stopped, and the process ends all the same.
fn complain(text: &str) {
    let text = text.to_owned();
    logging::last_words(move || anstream::eprintln!("rip-server: {text}"));
}
