//! Owns a published worker as the data path sees it: where it listens, and its connections that wait to be used again.
//!
//! Never here: opening a connection or judging whether it is still good.

use std::any::Any;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::metrics::AppMetrics;
use crate::name::{AppName, GenerationId, WorkerId};
use crate::time::{LazyDeadline, timer};

use super::address::Address;

/// A worker that can be claimed.
#[derive(Debug)]
pub(crate) struct Member {
    /// The app of the worker.
    pub(crate) app: AppName,
    pub(crate) metrics: AppMetrics,
    pub(crate) worker: WorkerId,
    pub(crate) generation: GenerationId,
    pub(crate) address: Address,
    /// How many requests the worker takes at the same time.
    pub(crate) concurrency: NonZeroU32,
    pub(crate) tunnels: u32,
    /// Connections that wait for the next request; never more than `concurrency`. Each worker has a lock of its own,
    /// held for a push or a pop.
    parked: Mutex<Vec<Parked>>,
    /// Whether the worker has sent bytes that belong to no answer: none of its connections is kept any more.
    distrusted: AtomicBool,
    /// Whether it was noted that the worker sends bodies behind answers that have none.
    sends_bodies_unasked: AtomicBool,
    /// How the worker ended; `None` before its end.
    ended: watch::Sender<Option<&'static str>>,
    /// Whether the worker gets nothing new.
    retired: watch::Sender<bool>,
    /// The channel to whoever takes in what workers write; `None`: nobody does.
    output: Option<mpsc::Sender<(WorkerId, String)>>,
}

/// A connection to a worker that waits for the next request, as the data path has parked it. The pool only keeps it,
/// and closes it by dropping it.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The thread of the data path that can use it as it is.
    pub(crate) shard: usize,
    /// When the connection became idle.
    pub(crate) since: Instant,
    /// The connection, without unread bytes and without another owner.
    pub(crate) connection: Arc<dyn Any + Send + Sync>,
    /// The connection's timer, which goes with it to whichever thread takes it.
    pub(crate) timer: LazyDeadline,
    /// How many answers came over the connection; those that others waited behind count more.
    pub(crate) answers: u32,
}

impl Member {
    /// A worker without a connection.
    pub(crate) fn new(
        (app, metrics): (AppName, AppMetrics),
        worker: WorkerId,
        generation: GenerationId,
        address: Address,
        concurrency: NonZeroU32,
        tunnels: u32,
    ) -> Self {
        Self {
            app,
            metrics,
            worker,
            generation,
            address,
            concurrency,
            tunnels,
            parked: Mutex::new(Vec::new()),
            distrusted: AtomicBool::new(false),
            sends_bodies_unasked: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            retired: watch::Sender::new(false),
            output: None,
        }
    }

    /// Returns this worker with a channel to somebody who takes in what the worker writes.
    pub(crate) fn with_output(self, output: mpsc::Sender<(WorkerId, String)>) -> Self {
        Self { output: Some(output), ..self }
    }

    /// Passes on a line that the worker has written to its server in place of its own standard error.
    ///
    /// # Errors
    /// The line, when nobody takes it or too many lines wait.
    pub(crate) fn wrote(&self, line: String) -> Result<(), String> {
        use mpsc::error::TrySendError::{Closed, Full};

        let Some(output) = &self.output else { return Err(line) };
        output.try_send((self.worker, line)).map_err(|error| match error {
            Closed((_, line)) | Full((_, line)) => line,
        })
    }

    /// Takes a kept connection, one of the asking thread first.
    pub(crate) fn unpark(&self, shard: usize) -> Option<Parked> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        match parked.iter().rposition(|kept| kept.shard == shard) {
            Some(at) => Some(parked.swap_remove(at)),
            None => parked.pop(),
        }
    }

    /// Keeps a connection for the next request; one too many is closed, and any of a worker that is distrusted.
    pub(crate) fn park(&self, connection: Parked) {
        if self.is_distrusted() {
            return;
        }
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.len() < self.concurrency.get() as usize {
            parked.push(connection);
        }
    }

    /// Notes that the worker has sent bytes that belong to no answer. The worker may do so again, and bytes that come a
    /// moment later cannot be told from the answer to the next request, so that no connection is used twice from now
    /// on. Returns whether that is new, and then counts it.
    pub(crate) fn distrust(&self) -> bool {
        let new = !self.distrusted.swap(true, Ordering::Relaxed);
        if new {
            self.metrics.worker_strayed("no-answer");
        }
        self.close_parked();
        new
    }

    /// Whether the worker is distrusted; see [`distrust`](Self::distrust).
    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    /// Notes that the worker has sent a body behind an answer that has none. Returns whether that is new, and then
    /// counts it.
    pub(crate) fn note_unasked_body(&self) -> bool {
        let new = !self.sends_bodies_unasked.swap(true, Ordering::Relaxed);
        if new {
            self.metrics.worker_strayed("unasked-body");
        }
        new
    }

    /// Notes how the worker ended, in one stable word such as `signal`, for requests that it leaves unanswered.
    pub(crate) fn note_end(&self, cause: &'static str) {
        self.ended.send_replace(Some(cause));
    }

    /// How the worker ended; `None` when that is not known within `limit`. Cancel-safe.
    pub(crate) async fn ended_within(&self, limit: Duration) -> Option<&'static str> {
        let mut ended = self.ended.subscribe();
        let cause = timer::timeout(limit, ended.wait_for(Option::is_some)).await.ok()?.ok()?;
        *cause
    }

    /// Tells tasks with connections of their own that the worker gets nothing new, and closes the parked ones.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
        self.close_parked();
    }

    /// Returns when the worker gets nothing new. Cancel-safe.
    pub(crate) async fn retired(&self) {
        // The wait fails only when the member is gone, and then the caller is, too.
        let _ = self.retired.subscribe().wait_for(|retired| *retired).await;
    }

    pub(super) fn close_parked(&self) {
        let closed = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        drop(closed);
    }
}
