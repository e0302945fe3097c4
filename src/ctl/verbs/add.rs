//! Owns `add`.
//!
//! Never here: recognising what kind of app stands at a path; the server does.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::{AddHost, endpoints};
use crate::config::machine::absolute_here;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::Caller;
use crate::name::RouteName;

/// Serve a host, or some of its paths
///
/// Without `--app` it leads to the instance's first app
#[derive(Debug, Args)]
pub(in crate::ctl) struct AddVerb {
    /// The host name, *.example.com for all names one label below, or example.com/blog for the paths below /blog
    #[arg(id = "new-host", value_name = "HOST")]
    host: RouteName,
    /// The directory or entry file of the host's app [default: the instance's first app]
    #[arg(long, value_name = "DIR")]
    app: Option<PathBuf>,
    /// Get no certificate of an authority for the host, whatever tls.acme says
    #[arg(long)]
    no_acme: bool,
}

impl AddVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        let Self { host, app, no_acme } = self;
        caller.ask(async |session| {
            let path = app.as_deref().map(existing).transpose()?;
            let wanted = AddHost { host: host.clone(), path, acme: !no_acme };
            let answer = session.client.call(&endpoints::ADD_HOST, &wanted).await?;
            session.tell(&answer, |change| render::changed(&host, "added", change))
        })
    }
}

/// The absolute path of an existing app. The server runs elsewhere: it needs the whole path, and would report late that
/// nothing is there. A link such as `current` stays in the path, because later deploys follow it.
fn existing(app: &Path) -> Result<PathBuf, CtlError> {
    fs::metadata(app).and_then(|_| absolute_here(app)).map_err(|error| {
        let message = format!("--app {}: {error}", app.display());
        CtlError::new(Exit::Usage, "usage", message).hint("give the directory or the entry file of an app")
    })
}
