//! Owns `logs`: the workers' lines, from the server, or from the journal where workers are units.
//!
//! Never here: how a line looks (`render`), or talking to journalctl (`journal`).

use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;

use crate::api::endpoint::LogQuery;
use crate::api::{LogLine, endpoints};
use crate::ctl::client::AnswerLines;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::journal::{Journal, JournalQuery};
use crate::ctl::render;
use crate::ctl::screen::DataReader;
use crate::ctl::session::{Caller, Session};
use crate::name::AppName;

/// Show the lines that the workers wrote
///
/// Exits 5 where the lines are in the journal and the caller may not read it
#[derive(Debug, Args)]
pub(in crate::ctl) struct LogsVerb {
    /// The app [default: all]
    app: Option<AppName>,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: usize,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl LogsVerb {
    /// Writes lines; with `follow` until the reader or the server leaves.
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let Self { app, lines, follow } = self;
            let limit = if follow { session.limit } else { session.limit.or(Some(LOGS_TIMEOUT)) };
            let status = session.client.call(&endpoints::GET_STATUS, &()).await?.read()?;
            if let Some(service) = &status.service
                && service.workers.is_some()
            {
                let (instance, app) = (&status.instance, app.as_ref());
                let mut journal = Journal::open(&JournalQuery { service, instance, app, lines, follow })?;
                let copied = copy_journal(session, &mut journal);
                return CtlError::unless_within(limit, "reading the journal", copied).await;
            }
            let mut lines = session.client.stream(&endpoints::LOGS, &LogQuery { app, lines, follow }).await?;
            CtlError::unless_within(limit, "reading the logs", copy(session, &mut lines)).await
        })
    }
}

async fn copy(session: &mut Session<'_>, lines: &mut AnswerLines<LogLine>) -> Result<Exit, CtlError> {
    let zone = TimeZone::system();
    while let Some(line) = lines.next().await? {
        let reader = if session.json {
            session.screen.answer(line.bytes())
        } else {
            session.screen.data(render::log_line(&line.read()?, &zone).as_bytes())
        };
        if reader == DataReader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

async fn copy_journal(session: &mut Session<'_>, journal: &mut Journal) -> Result<Exit, CtlError> {
    let zone = TimeZone::system();
    while let Some(line) = journal.next().await? {
        let reader = if session.json {
            session.screen.json(&line)
        } else {
            session.screen.data(render::log_line(&line, &zone).as_bytes())
        };
        if reader == DataReader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

const LOGS_TIMEOUT: Duration = Duration::from_secs(30);
