//! A request to end that many can see.
//!
//! Never here: the tasks that end then (`task_group`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// A request to end, made once and seen by all clones and children. Cheap to look at and to wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShutdownToken {
    flag: Arc<ShutdownFlag>,
    token: CancellationToken,
}

/// The same request as the cancellation token's, for those who look often: looking at that one takes a lock.
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
    /// A token that nobody has asked to end.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A token that is asked when this one is, and can be asked alone.
    pub(crate) fn child(&self) -> Self {
        let flag = ShutdownFlag { requested: AtomicBool::new(false), parent: Some(Arc::clone(&self.flag)) };
        Self { flag: Arc::new(flag), token: self.token.child_token() }
    }

    /// Asks whoever holds this token, a clone or a child to end; asking twice is the same as once.
    pub(crate) fn request(&self) {
        // First, so that whoever is woken by the token finds it set.
        self.flag.requested.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether the end was requested; a load for each level of parents.
    pub(crate) fn is_requested(&self) -> bool {
        self.flag.is_requested()
    }

    /// Returns once the end is requested. Cancel-safe.
    pub(crate) async fn requested(&self) {
        self.token.cancelled().await;
    }
}
