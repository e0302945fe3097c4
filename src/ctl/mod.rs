//! Owns `rip-serverctl`: words in, calls to the control socket, tables or JSON out, an exit code.
//!
//! Never here: the server's end of the socket, or what the calls do.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

mod args;
mod client;
mod common_args;
mod complete;
mod error;
mod find;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod journal;
mod manual;
mod password_input;
mod render;
mod screen;
mod session;
mod stopped_server;
mod suggest;
mod terminal;
mod verbs;

#[cfg(test)]
mod tests;

use crate::config::words::client::COMPLETE;

use args::CtlArgs;
use error::{CtlError, Exit};
use find::SocketPlaces;
use screen::Screen;
use session::Caller;

/// Does what a whole command line asks, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(obey(&args.into_iter().collect::<Vec<_>>()).code())
}

/// Does what [`run`] does, for programs that have verbs in common with `rip-serverctl`; the words come without a
/// program's name. Returns the exit code.
pub(crate) fn run_words(words: Vec<OsString>) -> u8 {
    obey(&std::iter::once("rip-serverctl".into()).chain(words).collect::<Vec<_>>()).code()
}

fn obey(args: &[OsString]) -> Exit {
    if args.get(1).is_some_and(|word| word == COMPLETE) {
        return complete::print(&args[2..], &SocketPlaces::of_environment());
    }
    let words = match CtlArgs::try_parse_from(args) {
        Ok(words) => words,
        Err(error) => return no_words(&suggest::without_harm(error), args),
    };
    let mut screen = Screen::of_process(words.common.color());
    let exit = act(words, &SocketPlaces::of_environment(), &mut screen);
    match screen.finish() {
        Ok(()) => exit,
        Err(error) => {
            anstream::eprintln!("rip-serverctl: cannot write the output: {error}");
            Exit::Failed
        }
    }
}

/// Handles words that name no verb to run: help and versions go to standard output, anything else is a usage error.
fn no_words(error: &clap::Error, args: &[OsString]) -> Exit {
    let asked_for = error.exit_code() == 0;
    if !asked_for && args.iter().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        let error = CtlError::new(Exit::Usage, "usage", message);
        Screen::of_process(anstream::ColorChoice::Never).json(&error.failure());
    } else {
        // Printing fails on a closed pipe, and whoever closed it knows.
        drop(error.print());
    }
    if asked_for { Exit::Ok } else { Exit::Usage }
}

/// Does a verb, and reports an error: on standard error, or with `--json` as JSON.
fn act(words: CtlArgs, places: &SocketPlaces, screen: &mut Screen) -> Exit {
    let json = words.common.json;
    let CtlArgs { common, verb } = words;
    let program = CtlArgs::command();
    let caller = Caller { program, common: &common, places, screen: &mut *screen };
    match verb.run(caller) {
        Ok(exit) => exit,
        Err(error) => {
            if json {
                screen.json(&error.failure());
            } else {
                screen.complain(&error);
            }
            error.exit
        }
    }
}
