//! What taking an answer in needs to know, and why it stops early.
//!
//! Never here: taking it in (`drain`, `putting`).

use std::sync::Arc;
use std::time::Duration;

use crate::directory::App;
use crate::metrics::Metrics;
use crate::name::ClientNet;

use super::buffer::{Buffer, NoReader};
use super::cut_short::CutShort;
use super::error::ServeError;
use super::limit::Limit;
use super::reader_pace::{ReaderPace, Wanted};
use super::server::Server;

/// What taking an answer in needs to know.
#[derive(Clone)]
pub(super) struct Draining {
    pub(super) worker_idle: Duration,
    /// For the worker to notice that its client has gone.
    pub(super) hang_up: Duration,
    pub(super) server: Arc<Server>,
    pub(super) app: Arc<App>,
    /// Whose share of memory and disk the answer takes from.
    pub(super) client: Option<ClientNet>,
    pub(super) metrics: Metrics,
}

/// Why taking in stopped early.
pub(super) enum Stopped {
    Reader(NoReader),
    Worker(CutShort),
    /// It cannot send the rest of its request.
    Client(ServeError),
}

impl Draining {
    /// `still`: how long the client may take nothing while others want what it keeps.
    pub(super) fn pace<'a>(&self, still: Duration, wanted: &'a dyn Fn() -> Wanted) -> ReaderPace<'a> {
        ReaderPace::new(self.server.limits.write_idle, still, wanted)
    }

    /// Whether other answers want the memory and the disk that this one keeps.
    pub(super) fn wants_room(&self) -> Wanted {
        let short = self.server.reply_room.is_short() || self.server.spool_space.is_short();
        if short { Wanted::Yes } else { Wanted::Not }
    }

    /// Lets go of what a client does not read.
    pub(super) fn give_up(&self, buffer: &Buffer, read: Result<(), NoReader>) {
        match read {
            Err(NoReader::Stalled) => buffer.give_up(CutShort::ClientStalled),
            Err(NoReader::TooSlow) => {
                self.server.limit_log.reached(Limit::SlowReader, self.client);
                buffer.give_up(CutShort::ClientSlow);
            }
            Ok(()) | Err(NoReader::Gone) => {}
        }
    }
}
