//! Owns `completions`.
//!
//! Never here: what the scripts ask while somebody types (`complete`).

use clap::Args;
use clap_complete::Shell;
use serde::Serialize;

use crate::config::generated_docs::completions;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;

/// Print a completion script
#[derive(Debug, Args)]
pub(in crate::ctl) struct CompletionsVerb {
    /// For which shell
    shell: Shell,
}

impl CompletionsVerb {
    pub(super) fn run(self, mut caller: Caller<'_>) -> Result<Exit, CtlError> {
        let script = completions::script(self.shell, &mut caller.program);
        if caller.common.json {
            let shell = self.shell.to_string();
            caller.screen.json(&CompletionsReport { ok: true, shell, script: &script });
        } else {
            caller.screen.data(script.as_bytes());
        }
        Ok(Exit::Ok)
    }
}

#[derive(Serialize)]
struct CompletionsReport<'a> {
    ok: bool,
    shell: String,
    script: &'a str,
}
