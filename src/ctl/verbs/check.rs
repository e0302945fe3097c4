//! Owns `check`: hands the words to `rip-server check`, which knows the settings.
//!
//! Never here: what a setting means.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;

/// Check a config file or an app, with no server running; prints the effective settings
///
/// The same as `rip-server check` with these words, and with `--instance` if that was said
#[derive(Debug, Args)]
pub(in crate::ctl) struct CheckVerb {
    /// The words that `rip-server` would be given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(in crate::ctl) args: Vec<OsString>,
}

impl CheckVerb {
    /// Runs `rip-server check`; its output is the verb's own.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        let program = server_program();
        let mut command = Command::new(&program);
        command.arg("check").args(self.args);
        command.args(caller.common.instance.as_ref().map(|instance| format!("--instance={instance}")));
        if caller.common.json {
            command.arg("--json");
        }
        let status = command.status().map_err(|error| {
            let message = format!("cannot run {}: {error}", program.display());
            CtlError::new(Exit::Failed, "no-rip-server", message)
                .hint("rip-serverctl needs rip-server beside it")
        })?;
        Ok(match status.code() {
            Some(0) => Exit::Ok,
            // rip-server exits with 2 for bad words and bad settings alike.
            Some(2) => Exit::Config,
            _ => Exit::Failed,
        })
    }
}

/// The `rip-server` that was installed, or built, together with this program; else that of `PATH`.
fn server_program() -> PathBuf {
    let beside = env::current_exe().ok().map(|program| program.with_file_name(SERVER));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| SERVER.into())
}

const SERVER: &str = "rip-server";
