//! Owns `man`.
//!
//! Never here: the page (`manual`).

use clap::Args;

use crate::ctl::error::{CtlError, Exit};
use crate::ctl::manual;
use crate::ctl::session::Caller;

/// Print the manual page
#[derive(Debug, Args)]
pub(in crate::ctl) struct ManVerb;

impl ManVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.screen.data(manual::text(&caller.program).as_bytes());
        Ok(Exit::Ok)
    }
}
