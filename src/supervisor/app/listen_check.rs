//! Owns the check who listens where a worker should: a worker is ready only when its own socket gets the connections,
//! and the log says early when a program listens elsewhere.
//!
//! Never here: how listeners are found (`backend`), or for how long to go on asking.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::probe::{NotReady, Probe, until_ready};
use crate::backend::{Backend, Holder, Listening};
use crate::name::{AppName, GenerationId, WorkerId};
use crate::pool::Address;

/// The check of one worker that is starting.
pub(super) struct ListenCheck {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) app: AppName,
    pub(super) worker: WorkerId,
    pub(super) generation: GenerationId,
    pub(super) address: Address,
    /// The result of the last try.
    pub(super) last: watch::Sender<Option<NotReady>>,
    pub(super) elsewhere: watch::Sender<Option<String>>,
    /// The generation for which it was last logged that others can reach its workers; all its workers have the same
    /// program.
    pub(super) exposed: Arc<AtomicU64>,
}

impl ListenCheck {
    /// Returns when the worker answers on a socket of its own. Cancel-safe.
    pub(super) async fn until_it_answers(&self, probe: &Probe) {
        let asking = async {
            loop {
                until_ready(probe, &self.last).await;
                if self.has_its_port().await {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = asking => {}
            never = self.watch_elsewhere() => match never {},
        }
    }

    /// Returns when the worker, which has said that it is ready, has the port that it was told. Cancel-safe.
    pub(super) async fn until_it_listens(&self) {
        let looking = async {
            while !self.has_its_port().await {
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = looking => {}
            never = self.watch_elsewhere() => match never {},
        }
    }

    /// Only reports where a worker listens that is to say itself that it is ready. Never returns. Cancel-safe.
    pub(super) async fn for_ever(&self) {
        match self.watch_elsewhere().await {}
    }

    /// Whether the worker has its port; true also where that cannot be found out.
    async fn has_its_port(&self) -> bool {
        let Address::Tcp(address) = &self.address else { return true };
        let Some(listening) = self.listening().await else { return true };
        let port = address.port();
        let why = match listening.holder {
            Holder::Worker => {
                self.tell_exposed(&listening);
                return true;
            }
            Holder::Nobody => NotReady::Unheard(port),
            Holder::Other(holder) => NotReady::Foreign(port, holder),
        };
        let news = !matches!(
            (&*self.last.borrow(), &why),
            (Some(NotReady::Foreign(..)), NotReady::Foreign(..)) | (_, NotReady::Unheard(_))
        );
        if news {
            let (app, worker, generation) = (&self.app, self.worker, self.generation);
            tracing::warn!(%app, %worker, %generation, "worker {worker} is not served: {why}");
        }
        self.last.send_replace(Some(why));
        false
    }

    fn tell_exposed(&self, listening: &Listening) {
        let Some(bound) = listening.exposed else { return };
        let (app, worker, generation) = (&self.app, self.worker, self.generation);
        if self.exposed.swap(generation.0, Ordering::Relaxed) != generation.0 {
            tracing::warn!(
                %app, %worker, %generation,
                "worker {worker} listens on {bound}, where others reach it past the server's TLS and limits: bind to \
                 $HOST (127.0.0.1)"
            );
        }
    }

    /// Looks at intervals while the worker is not ready, and reports what is new.
    async fn watch_elsewhere(&self) -> Infallible {
        sleep(FIRST_LOOK).await;
        loop {
            if let Some(listening) = self.listening().await
                && listening.holder != Holder::Worker
                && !listening.elsewhere.is_empty()
            {
                let text = self.sentence(&listening.elsewhere.join(" and "));
                if self.elsewhere.borrow().as_ref() != Some(&text) {
                    let (app, worker, generation) = (&self.app, self.worker, self.generation);
                    tracing::warn!(%app, %worker, %generation, "worker {worker} {text}");
                    self.elsewhere.send_replace(Some(text));
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn sentence(&self, elsewhere: &str) -> String {
        match &self.address {
            Address::Tcp(address) => {
                format!("listens on {elsewhere}, not on $PORT ({}): use $PORT", address.port())
            }
            Address::Unix(_) => format!(
                "listens on {elsewhere}, not on the socket it inherits as descriptor 3: use that, or set `listen = \
                 \"port\"` in rip.toml and use $PORT"
            ),
            Address::Bound(path) => format!(
                "listens on {elsewhere}, not on $RIP_SOCKET ({}): use $RIP_SOCKET, or set `listen = \"port\"` in \
                 rip.toml and use $PORT",
                path.display()
            ),
        }
    }

    async fn listening(&self) -> Option<Listening> {
        self.backend.listening(self.worker, self.address.clone()).await
    }
}

const PAUSE: Duration = Duration::from_millis(100);
/// The time before the first look: most programs listen sooner where they were told to.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
