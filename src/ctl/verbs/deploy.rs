//! Owns `deploy` and `rollback`: each starts a deploy of the server and waits for its end.
//!
//! Never here: how an event looks (`render`).

use std::collections::BTreeSet;

use clap::Args;

use crate::api::{DeployEvent, DeployRequest, endpoints};
use crate::ctl::client::AnswerLines;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::{Caller, Session};
use crate::name::AppName;

/// Start a new version beside the old one, and replace it when ready; exits 0 only when the new one serves
///
/// The new one has to pass its probation, too. On a rejection its reason and its workers' last lines are shown. A
/// superseded deploy ends as the one that took its place
#[derive(Debug, Args)]
pub(in crate::ctl) struct DeployVerb {
    /// The app [default: all]
    app: Option<AppName>,
}

impl DeployVerb {
    /// Starts the deploy and waits for its end. Leaving early does not end the deploy.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let events = session.client.stream(&endpoints::DEPLOY, &DeployRequest { app: self.app }).await?;
            let exit = wait(session, events, "the deploy").await?;
            tell_what_waits(session).await;
            Ok(exit)
        })
    }
}

/// Go back to the version that served before, as it was; exits 0 only when it serves
///
/// Folder, command, environment and settings are those of then; files that were edited in place are not brought back,
/// and the verb says so when the folder is the same one. The rollback holds until the next deploy or start of the
/// server
#[derive(Debug, Args)]
pub(in crate::ctl) struct RollbackVerb {
    /// The app [default: the only one]
    app: Option<AppName>,
}

impl RollbackVerb {
    /// Starts the rollback and waits for its end. Leaving early does not end the rollback.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let wanted = DeployRequest { app: self.app };
            let events = session.client.stream(&endpoints::ROLL_BACK, &wanted).await?;
            wait(session, events, "the rollback").await
        })
    }
}

async fn wait(
    session: &mut Session<'_>,
    mut events: AnswerLines<DeployEvent>,
    what: &str,
) -> Result<Exit, CtlError> {
    let limit = session.limit;
    let end = CtlError::unless_within(limit, what, progress(session, &mut events)).await;
    end.map_err(|error| if error.exit == Exit::TimedOut { error.hint(GOES_ON) } else { error })
}

/// Names settings that the deploy has read and that need a restart of the server; they do not change how the deploy
/// ended.
async fn tell_what_waits(session: &mut Session<'_>) {
    if session.json {
        return;
    }
    let status = session.client.call(&endpoints::GET_STATUS, &()).await;
    let waiting = status.and_then(|answer| answer.read()).map(|status| status.needs_restart);
    for setting in waiting.unwrap_or_default() {
        session.screen.say(format_args!("needs a restart: {}", render::plain(&setting)));
    }
}

async fn progress(
    session: &mut Session<'_>,
    events: &mut AnswerLines<DeployEvent>,
) -> Result<Exit, CtlError> {
    let mut report = DeployReport::default();
    while let Some(line) = events.next().await? {
        let event = line.read()?;
        if session.json {
            // A reader that leaves does not change how the deploy ends, and the exit code says that.
            session.screen.answer(line.bytes());
        } else {
            session.screen.say(render::deploy_event(&event));
        }
        report.note(event);
    }
    report.end()
}

/// The result of a deploy's events, over all its apps.
#[derive(Debug, Default)]
struct DeployReport {
    unfinished: BTreeSet<AppName>,
    serving: usize,
    rejected: usize,
}

impl DeployReport {
    fn note(&mut self, event: DeployEvent) {
        match event {
            DeployEvent::Starting { app, .. }
            | DeployEvent::Ready { app, .. }
            | DeployEvent::Serving { app, .. }
            | DeployEvent::Superseded { app, .. } => {
                self.unfinished.insert(app);
            }
            DeployEvent::Done { app, .. } => {
                self.unfinished.remove(&app);
                self.serving += 1;
            }
            DeployEvent::Rejected { app, .. } => {
                self.unfinished.remove(&app);
                self.rejected += 1;
            }
        }
    }

    fn end(self) -> Result<Exit, CtlError> {
        if !self.unfinished.is_empty() || self.serving + self.rejected == 0 {
            let apps: Vec<_> = self.unfinished.iter().map(AppName::as_str).collect();
            let of = if apps.is_empty() { String::new() } else { format!(" of {}", apps.join(", ")) };
            let message = format!("the server ended the report before the deploy{of} was decided");
            return Err(
                CtlError::new(Exit::Failed, "undecided", message).hint("`rip-serverctl status` tells more")
            );
        }
        Ok(if self.rejected == 0 { Exit::Ok } else { Exit::Failed })
    }
}

const GOES_ON: &str = "it goes on in the server: `rip-serverctl status` tells how it ends";
