//! Owns `deploy`, `promote`, `abort` and `rollback`: each starts a deploy of the server and waits for its end.
//!
//! Never here: how an event looks (`render`).

use std::collections::BTreeSet;

use clap::Args;

use crate::api::{DeployEvent, DeployRequest, WhichApp, endpoints};
use crate::ctl::client::AnswerLines;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::render;
use crate::ctl::session::{Caller, Session};
use crate::name::AppName;

/// Start a new version beside the old one, and replace it when ready; exits 0 only when the new one serves
///
/// The new one has to pass its probation, too. On a rejection its reason and its workers' last lines are shown. A
/// superseded deploy ends as the one that took its place. With --canary or --first only a share of the clients gets the
/// new one, always the same clients, and it exits 0 when these do; promote and abort decide about the others
#[derive(Debug, Args)]
pub(in crate::ctl) struct DeployVerb {
    /// The app [default: all]
    app: Option<AppName>,
    /// Give it to so many of a hundred clients, 1% to 99%, and hold it
    #[arg(long, value_name = "N%", value_parser = percent, conflicts_with = "first")]
    canary: Option<u8>,
    /// Give it so many workers, and as many clients as these would serve, and hold it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    first: Option<u16>,
}

/// Reads a number of per cent, with or without its sign.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number.filter(|percent| (1..=99).contains(percent)).ok_or_else(|| "expected 1% to 99%".into())
}

impl DeployVerb {
    /// Starts the deploy and waits for its end. Leaving early does not end the deploy.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let first = self.first.map(usize::from);
            let wanted = DeployRequest { app: self.app, canary: self.canary, first };
            let events = session.client.stream(&endpoints::DEPLOY, &wanted).await?;
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
            let wanted = WhichApp { app: self.app };
            let events = session.client.stream(&endpoints::ROLL_BACK, &wanted).await?;
            wait(session, events, "the rollback").await
        })
    }
}

/// Give the version that deploy --canary or --first holds to all clients; exits 0 only when it serves
///
/// It has to have all its workers ready, and to pass its probation, as after any deploy
#[derive(Debug, Args)]
pub(in crate::ctl) struct PromoteVerb {
    /// The app [default: the only one]
    app: Option<AppName>,
}

impl PromoteVerb {
    /// Leaving early does not end the promotion.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let events = session.client.stream(&endpoints::PROMOTE, &WhichApp { app: self.app }).await?;
            wait(session, events, "the promotion").await
        })
    }
}

/// Give the version that deploy --canary or --first holds to none: all clients get the one that serves
///
/// Its workers finish what they have in hand, and end
#[derive(Debug, Args)]
pub(in crate::ctl) struct AbortVerb {
    /// The app [default: the only one]
    app: Option<AppName>,
}

impl AbortVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let answer = session.client.call(&endpoints::ABORT, &WhichApp { app: self.app }).await?;
            session.tell(&answer, render::aborted)
        })
    }
}

/// Waits for the end of a deploy, and shows how it goes.
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
            DeployEvent::Done { app, .. } | DeployEvent::Held { app, .. } => {
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
