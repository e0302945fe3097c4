//! Owns what units of workers may do, as the admin's file said when it was read last. Never here: reading the file.

use std::sync::{Arc, PoisonError, RwLock};

use crate::spec::Sandbox;

/// The sandbox of the next worker. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SandboxInForce(Arc<RwLock<Arc<Sandbox>>>);

impl SandboxInForce {
    /// Starts with the sandbox of the server's start.
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(sandbox))))
    }

    pub(crate) fn get(&self) -> Arc<Sandbox> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the sandbox; workers that run keep theirs.
    pub(crate) fn replace(&self, sandbox: Sandbox) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sandbox);
    }
}
