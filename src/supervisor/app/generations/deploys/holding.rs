//! Owns how a generation is held for a share of the clients, and how that ends: all get it, or none.
//!
//! Never here: which clients belong to the share (`spec::canary`), or its workers (`plan`).

use std::sync::Arc;

use tokio::time::Instant;

use super::Deploys;
use crate::api::{Aborted, DeployEvent, Rejection};
use crate::name::GenerationId;
use crate::spec::Rules;
use crate::spec::canary::{Canary, CanaryRules, CanaryWish};
use crate::supervisor::app::deploy_observer::DeployObserver;
use crate::supervisor::app::generations::canary::HeldCanary;
use crate::supervisor::app::generations::deploy::{Deploy, Generation};
use crate::supervisor::app::generations::probation::{FailureCount, ProbationVerdict};
use crate::supervisor::app::worker_state::WorkerFailure;

impl Deploys {
    /// Gives a generation that is ready to a share of the clients. The deploy is over for who waits for it.
    pub(super) fn hold(&mut self, generation: Generation, mut deploy: Deploy, wish: CanaryWish) {
        let Some(current) = &self.set.current else { return };
        let wanted = self.set.wanted_of(&generation.spec).max(1);
        let (share, workers) = (wish.share(wanted), wish.workers(wanted));
        let rules = CanaryRules { share, rules: Arc::clone(&generation.spec.rules) };
        let all = Rules { canary: Canary(Some(Arc::new(rules))), ..(*current.spec.rules).clone() };
        // The pool knows the canary before anybody is told of it.
        self.pool.set_canary(Some(generation.id));
        self.app.rules.store(Arc::new(all));
        let (app, id, serving) = (self.app.name.clone(), generation.id, current.id);
        tracing::info!(%app, generation = %id, %serving, %share, workers, "generation is held for a share of the clients");
        deploy.count(&self.app, "held");
        let ms = u64::try_from(deploy.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        deploy.end_observers(&DeployEvent::Held {
            app,
            generation: id,
            ms,
            share: share.to_string(),
            workers,
        });
        let (since, failures) = (Instant::now(), FailureCount::default());
        self.set.held = Some(HeldCanary { generation, deploy, wish, share, since, failures });
    }

    /// Refuses a deploy while a generation is held: what would become of that one is for a person to say.
    pub(in crate::supervisor::app) fn is_refused(
        &self,
        observer: &mut Option<DeployObserver>,
        why: &str,
    ) -> bool {
        let Some(held) = &self.set.held else { return false };
        let reason = format!("{}; then deploy again", held.sentence(&self.app.name));
        tracing::warn!(app = %self.app.name, held = %held.id(), why, "nothing is deployed: {reason}");
        if let Some(observer) = observer.take() {
            let rejection = Rejection { generation: self.latest.next(), reason, output: Vec::new() };
            observer.end(DeployEvent::Rejected { app: self.app.name.clone(), rejection });
        }
        true
    }

    /// Has the generation that is held replace what serves, as any candidate does that is ready.
    ///
    /// # Errors
    /// The generation that serves, when none is held.
    pub(in crate::supervisor::app) fn promote_canary(
        &mut self,
        observer: Option<DeployObserver>,
    ) -> Result<(), GenerationId> {
        let Some(held) = self.set.held.take() else { return Err(self.serving()) };
        let (app, id, share) = (self.app.name.clone(), held.id(), held.share);
        tracing::info!(%app, generation = %id, %share, "the generation that is held is given to all clients");
        let mut deploy = Deploy::new(id, observer.into_iter().collect(), Instant::now());
        deploy.reloading = Some(self.ctx.reload_notices.begin());
        deploy.candidate = Some(held.generation);
        self.set.deploy = Some(deploy);
        let workers = self.set.wanted();
        if let Some(deploy) = &self.set.deploy {
            deploy.tell(DeployEvent::Starting { app, generation: id, workers, note: None });
        }
        Ok(())
    }

    /// Gives the generation that is held to nobody any more.
    ///
    /// # Errors
    /// The generation that serves, when none is held.
    pub(in crate::supervisor::app) fn abort(&mut self, why: &str) -> Result<Aborted, GenerationId> {
        let Some(held) = self.set.held.take() else { return Err(self.serving()) };
        self.end_canary();
        let (app, generation, serving) = (self.app.name.clone(), held.id(), self.serving());
        tracing::info!(%app, %generation, %serving, why, "the generation that was held is given up");
        held.deploy.count(&self.app, "aborted");
        Ok(Aborted { ok: true, app, generation, serving })
    }

    /// Takes in that a worker of the generation that is held has failed: as on probation, half of them or three are too
    /// many.
    pub(super) fn canary_failed(&mut self, generation: GenerationId, failure: WorkerFailure, why: &str) {
        let workers = self.set.wanted_of_canary();
        let Some(held) = self.set.held.as_mut().filter(|held| held.id() == generation) else { return };
        held.generation.failed(failure, why);
        if held.failures.failed(workers) == ProbationVerdict::Stays {
            return;
        }
        let Some(held) = self.set.held.take() else { return };
        self.end_canary();
        let (app, serving, share) = (&self.app.name, self.serving(), held.share);
        let reason = format!(
            "a worker {why}, {} s after {share} of the clients got it: generation {serving} serves all again",
            held.since.elapsed().as_secs()
        );
        tracing::error!(%app, %generation, %serving, reason, "the generation that was held is given up");
        self.rejection(&held.deploy, reason);
    }

    /// Has all clients get the generation that serves.
    pub(super) fn end_canary(&self) {
        if self.app.rules.load().canary.0.is_none() {
            return;
        }
        if let Some(current) = &self.set.current {
            self.app.rules.store(Arc::clone(&current.spec.rules));
        }
        self.pool.set_canary(None);
    }

    fn serving(&self) -> GenerationId {
        self.set.current.as_ref().map(|current| current.id).unwrap_or_default()
    }
}
