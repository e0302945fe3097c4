//! Owns `remove`.
//!
//! Never here: what becomes of an app without hosts; the server decides that.

use clap::Args;

use crate::api::endpoints;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;
use crate::name::RouteName;

/// Serve a host no longer; the last host of an app takes the app's workers with it
#[derive(Debug, Args)]
pub(in crate::ctl) struct RemoveVerb {
    /// The host name
    host: RouteName,
}

impl RemoveVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let answer = session.client.call(&endpoints::REMOVE_HOST, &self.host).await?;
            session.tell(&answer, |change| render::changed(&self.host, "removed", change))
        })
    }
}
