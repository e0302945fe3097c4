//! Owns what others may know of an app without asking its task.
//!
//! Never here: what becomes of an app.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::spec::AppSpec;

/// What others may know of an app; gone when its task has ended.
#[derive(Clone, Default)]
pub(in crate::supervisor) struct AppFacts {
    /// A first generation serves, or was rejected.
    pub(in crate::supervisor) settled: bool,
    pub(in crate::supervisor) rejected: Option<String>,
    /// What the generation that serves is made of.
    pub(in crate::supervisor) serving: Option<Arc<AppSpec>>,
}

/// The side of the app's task.
pub(super) struct FactsWriter {
    facts: watch::Sender<AppFacts>,
    /// Tells the set of apps that there is news.
    news: Arc<Notify>,
}

impl FactsWriter {
    /// Nothing known yet; `news` is told of every change that concerns all apps.
    pub(super) fn new(news: Arc<Notify>) -> (Self, watch::Receiver<AppFacts>) {
        let (facts, receiver) = watch::channel(AppFacts::default());
        (Self { facts, news }, receiver)
    }

    /// Whether the first generation serves or was rejected.
    pub(super) fn is_settled(&self) -> bool {
        self.facts.borrow().settled
    }

    /// A generation made of `spec` serves from now on.
    pub(super) fn serves(&self, spec: &Arc<AppSpec>) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = None;
            facts.serving = Some(Arc::clone(spec));
        });
        self.news.notify_one();
    }

    /// A later generation was rejected, and the one that serves goes on.
    pub(super) fn goes_on(&self) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = None;
        });
        self.news.notify_one();
    }

    /// No generation serves, for this reason.
    pub(super) fn does_not_serve(&self, reason: String) {
        self.facts.send_modify(|facts| {
            facts.settled = true;
            facts.rejected = Some(reason);
        });
        self.news.notify_one();
    }
}
