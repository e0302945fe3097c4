//! Owns the facts of an app that others may know without asking its task.
//!
//! Never here: what an app does.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::spec::AppSpec;

/// The facts of an app; gone when its task has ended.
#[derive(Clone, Default)]
pub(in crate::supervisor) struct AppFacts {
    /// Whether the first generation serves or was rejected.
    pub(in crate::supervisor) settled: bool,
    pub(in crate::supervisor) rejected: Option<String>,
    /// The spec of the generation that serves.
    pub(in crate::supervisor) serving: Option<Arc<AppSpec>>,
}

/// The writer of the facts, for the app's task.
pub(super) struct FactsWriter {
    facts: watch::Sender<AppFacts>,
    /// Wakes the set of apps when facts change.
    news: Arc<Notify>,
}

impl FactsWriter {
    /// Facts of which nothing is known; `news` is notified of every change that concerns all apps.
    pub(super) fn new(news: Arc<Notify>) -> (Self, watch::Receiver<AppFacts>) {
        let (facts, receiver) = watch::channel(AppFacts::default());
        (Self { facts, news }, receiver)
    }

    /// Whether the first generation serves or was rejected.
    pub(super) fn is_settled(&self) -> bool {
        self.facts.borrow().settled
    }

    /// Notes that a generation made of `spec` serves from now on.
    pub(super) fn serves(&self, spec: &Arc<AppSpec>) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = None;
            facts.serving = Some(Arc::clone(spec));
        });
        self.news.notify_one();
    }

    /// Notes that a later generation was rejected, and that the serving one goes on.
    pub(super) fn goes_on(&self) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = None;
        });
        self.news.notify_one();
    }

    /// Notes that no generation serves, for this reason.
    pub(super) fn does_not_serve(&self, reason: String) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = Some(reason);
        });
        self.news.notify_one();
    }
}

/// Tells, when dropped, that the task of an app has ended, also by a panic.
pub(super) struct EndNotice(pub(super) Arc<Notify>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
