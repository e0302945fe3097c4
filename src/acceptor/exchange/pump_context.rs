//! Owns the parts that a task needs which takes an answer in, and the reasons why it stops early.
//!
//! Never here: taking an answer in (`response_pump`, `answer_sink`).

use std::sync::Arc;
use std::time::Duration;

use crate::directory::App;
use crate::name::ClientNet;

use crate::acceptor::body::buffer::{Buffer, NoReader};
use crate::acceptor::body::cut_short::CutShort;
use crate::acceptor::body::reader_pace::{ReaderPace, Wanted};
use crate::acceptor::error::ServeError;
use crate::acceptor::limit::Limit;
use crate::acceptor::thread::server::Server;
use crate::acceptor::upstream::outgoing::Outgoing;

/// The parts that a task needs which takes an answer in.
#[derive(Clone)]
pub(in crate::acceptor) struct PumpContext {
    pub(in crate::acceptor) worker_idle: Duration,
    /// The time for a worker to notice that its client has gone.
    pub(in crate::acceptor) hang_up: Duration,
    pub(in crate::acceptor) server: Arc<Server>,
    pub(in crate::acceptor) app: Arc<App>,
    /// The client whose share of memory and disk the answer takes from.
    pub(in crate::acceptor) client: Option<ClientNet>,
}

/// Why a task stopped taking an answer in.
pub(in crate::acceptor) enum PumpStop {
    Reader(NoReader),
    Worker(CutShort),
    /// The client cannot send the rest of its request.
    Client(ServeError),
}

impl PumpContext {
    pub(in crate::acceptor) fn of(request: &Outgoing<'_>) -> Self {
        Self {
            worker_idle: request.rules.timeouts.body_idle,
            hang_up: request.rules.timeouts.request,
            server: Arc::clone(&request.upstreams.server),
            app: Arc::clone(request.app),
            client: request.client,
        }
    }

    /// `still`: how long the client may take nothing while others want what its answer keeps.
    pub(in crate::acceptor) fn pace<'a>(
        &self,
        still: Duration,
        wanted: &'a dyn Fn() -> Wanted,
    ) -> ReaderPace<'a> {
        ReaderPace::new(self.server.limits.write_idle, still, wanted)
    }

    /// Whether other answers want the memory and the disk space that this one keeps.
    pub(in crate::acceptor) fn wants_room(&self) -> Wanted {
        let short = self.server.reply_room.is_short() || self.server.spool_space.is_short();
        if short { Wanted::Yes } else { Wanted::Not }
    }

    /// Drops the buffered bytes of a client that has left or does not read.
    pub(in crate::acceptor) fn give_up(&self, buffer: &Buffer, read: Result<(), NoReader>) {
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

/// How long a client may take nothing of an answer that is complete while others want its memory or its disk.
pub(in crate::acceptor) const ALONE: Duration = Duration::from_secs(10);
