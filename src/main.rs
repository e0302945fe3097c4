//! `rip-server`: words in, exit code out. 0: ended in order; 1: failed; 2: bad usage or config.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use rip_server::apps::static_worker;
use rip_server::backend::child::reaper;
use rip_server::backend::shim;
use rip_server::certs::CertError;
use rip_server::config::app::app_settings;
use rip_server::config::error::ConfigError;
use rip_server::config::machine::Machine;
use rip_server::config::merge::{self, Config, Invocation};
use rip_server::config::report::{report_json, report_text};
use rip_server::config::shadowed_routes::shadowed_routes;
use rip_server::config::words::command::{Command, Inner};
use rip_server::{boot, ctl, logging};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let machine = match Machine::this() {
        Ok(machine) => machine,
        Err(error) => return failed(&format!("cannot read the working directory: {error}")),
    };
    match merge::read(&words, &machine) {
        Err(error) => refused(&error),
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::Inner(Inner::Exec, words)) => shim::run_shim(words),
        Ok(Invocation::Inner(Inner::Guard, words)) => reaper::run_reaper(words),
        Ok(Invocation::Inner(Inner::Static, words)) => static_worker::run_words(words),
        Ok(Invocation::Client { words, note }) => {
            note.iter().for_each(|note| complain(note));
            ExitCode::from(ctl::run_words(words))
        }
        Ok(Invocation::Config(config)) => obey(*config, &machine),
    }
}

fn obey(config: Config, machine: &Machine) -> ExitCode {
    match &config.command {
        Command::Run => run(config, machine),
        Command::Check => check(config, machine),
        Command::Stop => steer(&config, &["stop"]),
        Command::List => steer(&config, &["list"]),
        Command::Add(host) => steer(&config, &["add", &host.to_string()]),
        Command::Remove(host) => steer(&config, &["remove", &host.to_string()]),
    }
}

/// What is wrong with an app's own file is bad config, like what is wrong with the server's.
fn run(mut config: Config, machine: &Machine) -> ExitCode {
    if let Some(why) = boot::missing(&config, machine.is_service_of_the_system()) {
        complain(&why);
        return ExitCode::from(2);
    }
    match config.apps.iter().map(app_settings).collect::<Result<Vec<_>, _>>() {
        Err(error) => return refused(&error),
        Ok(apps) => config.warnings.extend(shadowed_routes(&apps)),
    }
    match boot::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&in_full(&error));
            // So is a certificate that was named and cannot be used.
            let named = error.downcast_ref().is_some_and(CertError::is_of_what_was_given);
            if named { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Settings may be right and the directory still no app: then they are shown all the same.
fn check(mut config: Config, machine: &Machine) -> ExitCode {
    config.warnings.extend(boot::left_to_systemd(&config, &machine.etc, &machine.apps));
    if let Some(why) = boot::missing(&config, false) {
        complain(&why);
        return ExitCode::from(2);
    }
    let mut apps: Vec<_> = match config.apps.iter().map(app_settings).collect() {
        Err(error) => return refused(&error),
        Ok(apps) => apps,
    };
    config.warnings.extend(shadowed_routes(&apps));
    let config = &config;
    let described = boot::describe(config);
    let runs = described.as_deref().unwrap_or_default();
    for (app, run) in apps.iter_mut().zip(runs).filter(|(app, run)| app.recycle != run.recycle) {
        app.report_recycle(run.recycle);
    }
    for (app, run) in apps.iter_mut().zip(runs) {
        app.report_workers(run.upkeep.workers);
    }
    let backend = boot::describe_backend(config);
    let unreadable = boot::unreadable(config, &machine.etc, &machine.apps);
    let seen = if config.server.log.json {
        let mut report = report_json(config, &apps, runs);
        report["workers"] = backend.into();
        print(&format!("{report:#}\n"))
    } else {
        let printed = print(&format!("{}\n{backend}\n", report_text(config, &apps, runs)));
        described.as_ref().map_or_else(|error| failed(&in_full(error)), |_| printed)
    };
    unreadable.iter().for_each(|why| complain(why));
    // As for a file that the one who asks cannot read.
    if unreadable.is_empty() { seen } else { ExitCode::from(2) }
}

/// What `rip-serverctl` does, for this server's control socket.
fn steer(config: &Config, verb: &[&str]) -> ExitCode {
    let mut words: Vec<OsString> = verb.iter().map(Into::into).collect();
    words.push(format!("--socket={}", config.server.control_socket.display()).into());
    if config.server.log.json {
        words.push("--json".into());
    }
    ExitCode::from(ctl::run_words(words))
}

/// A reader that has seen enough is no failure.
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

/// Standard error may be a terminal that was stopped, and the process ends all the same.
fn complain(text: &str) {
    let text = text.to_owned();
    logging::last_words(move || anstream::eprintln!("rip-server: {text}"));
}
