//! Owns reading an app for a generation, off the task that asks: its directory and settings, the state of its files,
//! and which commit is checked out.
//!
//! Never here: what becomes of it (`deploys`).

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::name::GenerationId;
use crate::spec::AppSpec;
use crate::supervisor::app::messages::TaskReport;
use crate::supervisor::app_context::AppContext;
use crate::supervisor::files::app_files::{Fingerprint, WatchTargets, fingerprint, seen_by};
use crate::supervisor::files::content::{Content, commit_of};

/// Reads an app and reports to its task.
pub(super) struct AppReader {
    ctx: AppContext,
    reports: mpsc::Sender<TaskReport>,
}

impl AppReader {
    pub(super) fn new(ctx: AppContext, reports: mpsc::Sender<TaskReport>) -> Self {
        Self { ctx, reports }
    }

    /// Reads an app anew that was `known` before; [`TaskReport::Resolved`] follows.
    pub(super) fn read(&self, generation: GenerationId, known: &AppSpec) {
        let (ctx, reports) = (self.ctx.clone(), self.reports.clone());
        let reading = seen_by(WatchTargets::of(known), ctx.read_app(known.path.clone()));
        self.ctx.stop.spawn("read app", async move {
            let (read, seen) = reading.await;
            let content = match &read {
                Ok(spec) => content(&ctx, seen, spec).await,
                Err(_) => seen.map(|seen| Content { seen, commit: None }),
            };
            // An app that has ended needs it no more.
            reports.send(TaskReport::Resolved(generation, Box::new(read), content.map(Box::new))).await.ok();
        });
    }

    /// Looks at the files of an app that was read as `spec`; [`TaskReport::Seen`] follows where there are any.
    pub(super) fn look(&self, generation: GenerationId, spec: Arc<AppSpec>) {
        let (ctx, reports) = (self.ctx.clone(), self.reports.clone());
        self.ctx.stop.spawn("look at app", async move {
            let seen = fingerprint(&WatchTargets::of(&spec)).await;
            if let Some(content) = content(&ctx, seen, &spec).await {
                // An app that has ended needs it no more.
                reports.send(TaskReport::Seen(generation, Box::new(content))).await.ok();
            }
        });
    }
}

/// The state `seen` of an app's files, with the commit that is checked out in their folder.
async fn content(ctx: &AppContext, seen: Option<Fingerprint>, spec: &AppSpec) -> Option<Content> {
    let seen = seen?;
    let folder = spec.launch.directory.clone();
    let commit = ctx.on_disk(move || commit_of(&folder)).await.flatten();
    Some(Content { seen, commit })
}
