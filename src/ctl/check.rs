//! Owns the hook of `check`: hands the words to `rip-server check`, which knows the settings.
//!
//! Never here: what a setting means.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use super::trouble::{Exit, Trouble};
use crate::name::InstanceName;

/// Runs `rip-server check` with these words; its output is ours.
pub(super) fn check(args: &[OsString], instance: Option<&InstanceName>, json: bool) -> Result<Exit, Trouble> {
    let program = server_program();
    let mut command = Command::new(&program);
    command.arg("check").args(args);
    command.args(instance.map(|instance| format!("--instance={instance}")));
    if json {
        command.arg("--json");
    }
    let status = command.status().map_err(|error| {
        let message = format!("cannot run {}: {error}", program.display());
        Trouble::new(Exit::Failed, "no-rip-server", message).hint("rip-serverctl needs rip-server beside it")
    })?;
    Ok(match status.code() {
        Some(0) => Exit::Ok,
        // What rip-server exits with for bad words and bad settings alike.
        Some(2) => Exit::Config,
        _ => Exit::Failed,
    })
}

/// The one that was installed, or built, together with this program; else the shell's.
fn server_program() -> PathBuf {
    let beside = env::current_exe().ok().map(|program| program.with_file_name(SERVER));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| SERVER.into())
}

const SERVER: &str = "rip-server";
