//! Owns what units of workers may do, as the admin's file said when it was read last. Never here: reading it.

use std::sync::{Arc, PoisonError, RwLock};

use crate::spec::Sandbox;

/// The sandbox of the next worker. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct SandboxInForce(Arc<RwLock<Arc<Sandbox>>>);

impl SandboxInForce {
    /// The sandbox of the start.
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(sandbox))))
    }

    pub(crate) fn get(&self) -> Arc<Sandbox> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Workers that run keep theirs.
    pub(crate) fn replace(&self, sandbox: Sandbox) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sandbox);
    }
}
