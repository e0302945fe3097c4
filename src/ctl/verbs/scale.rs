//! Owns `scale`.
//!
//! Never here: making a number of a word such as `half`, for which the server knows its cores.

use clap::Args;

use crate::api::{Scale, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;
use crate::name::AppName;

/// Change how many workers an app has
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(in crate::ctl) struct ScaleVerb {
    /// The app [default: the only one]
    pub(in crate::ctl) app: Option<AppName>,
    /// half (of the cores), auto (one a core), 2x, 3x, a number, or a range such as 2..8
    pub(in crate::ctl) count: String,
}

impl ScaleVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let wanted = Scale { app: self.app, workers: self.count };
            let answer = session.client.call(&endpoints::SCALE, &wanted).await?;
            session.tell(&answer, render::scaled)
        })
    }
}
