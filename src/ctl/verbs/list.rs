//! Owns `list`.
//!
//! Never here: how a host looks (`render`).

use clap::Args;

use crate::api::endpoints;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;

/// Show the hosts, the app of each and what it does with requests
#[derive(Debug, Args)]
pub(in crate::ctl) struct ListVerb;

impl ListVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let hosts = session.client.call(&endpoints::LIST_HOSTS, &()).await?;
            session.show(&hosts, |hosts| render::hosts(&hosts.entries))
        })
    }
}
