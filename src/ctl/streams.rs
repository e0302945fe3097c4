//! Owns the verbs whose answers come line by line: `deploy` and `logs`.
//!
//! Never here: how a line looks.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::timeout;

use crate::api::{self, DeployEvent, LogLine, Status};
use crate::name::AppName;

use super::client::{Call, Lines, encoded, understood};
use super::journal::{Journal, Question};
use super::render;
use super::screen::Reader;
use super::session::Session;
use super::trouble::{Exit, Trouble};

/// Starts a deploy and waits for what comes of it. Leaving early does not end the deploy.
pub(super) async fn deploy(session: &mut Session<'_>, app: Option<AppName>) -> Result<Exit, Trouble> {
    let mut lines = session.client.stream(Call::post("/deploy", &api::Deploy { app })?).await?;
    let limit = session.limit;
    let exit = within(limit, "the deploy", progress(session, &mut lines))
        .await
        .map_err(|trouble| if trouble.exit == Exit::TimedOut { trouble.hint(GOES_ON) } else { trouble })?;
    tell_what_waits(session).await;
    Ok(exit)
}

/// Settings that the deploy has read and the server has not taken; no part of how the deploy ended.
async fn tell_what_waits(session: &mut Session<'_>) {
    if session.json {
        return;
    }
    let status = session.client.call(Call::get("/status")).await;
    let waiting = status.and_then(|answer| understood::<Status>(&answer)).map(|status| status.needs_restart);
    for setting in waiting.unwrap_or_default() {
        session.screen.say(format_args!("needs a restart: {}", render::plain(&setting)));
    }
}

async fn progress(session: &mut Session<'_>, lines: &mut Lines) -> Result<Exit, Trouble> {
    let mut story = Story::default();
    while let Some(line) = lines.next().await? {
        let event = understood(&line)?;
        if session.json {
            // A reader that leaves does not change how the deploy ends, and the exit code tells that.
            session.screen.answer(&line);
        } else {
            session.screen.say(render::deploy_event(&event));
        }
        story.note(event);
    }
    story.end()
}

/// What the events of a deploy come to, over all its apps.
#[derive(Debug, Default)]
struct Story {
    unfinished: BTreeSet<AppName>,
    serving: usize,
    not_taken: usize,
}

impl Story {
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
                self.not_taken += 1;
            }
        }
    }

    fn end(self) -> Result<Exit, Trouble> {
        if !self.unfinished.is_empty() || self.serving + self.not_taken == 0 {
            let apps: Vec<_> = self.unfinished.iter().map(AppName::as_str).collect();
            let of = if apps.is_empty() { String::new() } else { format!(" of {}", apps.join(", ")) };
            let message = format!("the server ended the report before the deploy{of} was decided");
            return Err(
                Trouble::new(Exit::Failed, "undecided", message).hint("`rip-serverctl status` tells more")
            );
        }
        Ok(if self.not_taken == 0 { Exit::Ok } else { Exit::Failed })
    }
}

/// Shows what the workers wrote; with `follow` until the reader or the server leaves.
pub(super) async fn logs(
    session: &mut Session<'_>,
    app: Option<AppName>,
    lines: usize,
    follow: bool,
) -> Result<Exit, Trouble> {
    let limit = if follow { session.limit } else { session.limit.or(Some(LOGS)) };
    let status: Status = understood(&session.client.call(Call::get("/status")).await?)?;
    if let Some(service) = &status.service
        && service.workers.is_some()
    {
        let (instance, app) = (&status.instance, app.as_ref());
        let mut journal = Journal::open(&Question { service, instance, app, lines, follow })?;
        return within(limit, "reading the journal", copy_journal(session, &mut journal)).await;
    }
    let mut path = format!("/logs?lines={lines}");
    if let Some(app) = app {
        path += &format!("&app={}", encoded(app.as_str()));
    }
    if follow {
        path += "&follow=1";
    }
    let mut lines = session.client.stream(Call::get(path)).await?;
    within(limit, "reading the logs", copy(session, &mut lines)).await
}

async fn copy(session: &mut Session<'_>, lines: &mut Lines) -> Result<Exit, Trouble> {
    let zone = TimeZone::system();
    while let Some(line) = lines.next().await? {
        let reader = if session.json {
            session.screen.answer(&line)
        } else {
            let line: LogLine = understood(&line)?;
            session.screen.data(render::log_line(&line, &zone).as_bytes())
        };
        if reader == Reader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

async fn copy_journal(session: &mut Session<'_>, journal: &mut Journal) -> Result<Exit, Trouble> {
    let zone = TimeZone::system();
    while let Some(line) = journal.next().await? {
        let reader = if session.json {
            session.screen.json(&line)
        } else {
            session.screen.data(render::log_line(&line, &zone).as_bytes())
        };
        if reader == Reader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

async fn within<T>(
    limit: Option<Duration>,
    what: &str,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(Trouble::late(what, limit))),
        None => work.await,
    }
}

const LOGS: Duration = Duration::from_secs(30);
const GOES_ON: &str = "it goes on in the server: `rip-serverctl status` tells how it ends";
