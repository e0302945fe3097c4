//! Runs a library's futures on the connection's own thread.
//!
//! Never here: what the futures do.

use hyper::rt::Executor;

use crate::tasks::TaskGroup;

/// Runs futures of HTTP/2 streams on the connection's own thread.
#[derive(Clone)]
pub(in crate::acceptor) struct OnThread(pub(in crate::acceptor) TaskGroup);

impl<F> Executor<F> for OnThread
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_local("stream", async move {
            future.await;
        });
    }
}
