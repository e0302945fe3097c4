//! Owns `status`.
//!
//! Never here: how the page looks (`render`).

use clap::Args;

use crate::api::{Health, endpoints};
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;

/// Show what the server is doing, and why; exits 3 when an app has no worker ready
#[derive(Debug, Args)]
pub(in crate::ctl) struct StatusVerb;

impl StatusVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let answer = session.client.call(&endpoints::GET_STATUS, &()).await?;
            let health = answer.read()?.status;
            session.show(&answer, render::status)?;
            Ok(match health {
                Health::Healthy => Exit::Ok,
                Health::Degraded => Exit::Degraded,
            })
        })
    }
}
