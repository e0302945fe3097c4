//! A request to end that many can see.
//!
//! Never here: the tasks that end at the request (`task_group`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// A request to end, made once and seen by all clones and children. Cheap to look at and to wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShutdownToken {
    flag: Arc<ShutdownFlag>,
    token: CancellationToken,
}

/// The request of the cancellation token as a flag, for frequent looks: looking at the token takes a lock.
#[derive(Debug, Default)]
struct ShutdownFlag {
    requested: AtomicBool,
    parent: Option<Arc<Self>>,
}

impl ShutdownFlag {
    fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
            || self.parent.as_ref().is_some_and(|parent| parent.is_requested())
    }
}

impl ShutdownToken {
    /// A token whose end was not requested.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A token that is requested when this one is, and can be requested alone.
    pub(crate) fn child(&self) -> Self {
        let flag = ShutdownFlag { requested: AtomicBool::new(false), parent: Some(Arc::clone(&self.flag)) };
        Self { flag: Arc::new(flag), token: self.token.child_token() }
    }

    /// Requests the end of this token, its clones and its children; a second request changes nothing.
    pub(crate) fn request(&self) {
        // The flag is set first, so that a task that the token wakes finds it set.
        self.flag.requested.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether the end was requested; costs a load for each level of parents.
    pub(crate) fn is_requested(&self) -> bool {
        self.flag.is_requested()
    }

    /// Returns when the end is requested. Cancel-safe.
    pub(crate) async fn requested(&self) {
        self.token.cancelled().await;
    }
}
