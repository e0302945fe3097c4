//! Owns `workers`.
//!
//! Never here: how a worker looks (`render`).

use clap::Args;

use crate::api::endpoints;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;

/// Show the workers and the requests they have in hand
#[derive(Debug, Args)]
pub(in crate::ctl) struct WorkersVerb;

impl WorkersVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let workers = session.client.call(&endpoints::LIST_WORKERS, &()).await?;
            session.show(&workers, |list| render::workers(&list.workers))
        })
    }
}
