//! Owns a single certificate that is obtained and renewed: its state, the pauses between attempts, and why the last
//! attempt failed.
//!
//! Never here: how it is obtained; each issuer says that by a closure.

use std::time::{Duration, SystemTime};

use crate::certs::cert_entry::{CertAction, CertEntry, CertEvent, LONGEST_PAUSE};
use crate::certs::certificate::Certificate;
use crate::certs::{CertError, in_full};
use crate::name::HostName;
use crate::time::Backoff;

use super::Issued;

/// A certificate and its renewals.
pub(super) struct ObtainedCert {
    source: &'static str,
    entry: CertEntry,
    backoff: Backoff,
    /// Why the last attempt failed; the text stays while another attempt runs.
    problem: Option<String>,
    renewal: Renewal,
}

/// The program that renews the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The server itself renews it, when two thirds of its life are over.
    Ours,
    /// Another program or person renews it.
    Theirs,
}

impl ObtainedCert {
    /// Starts without a certificate.
    pub(super) fn new(source: &'static str, renewal: Renewal) -> Self {
        let backoff = Backoff::new(RETRY, LONGEST_PAUSE);
        Self { source, entry: CertEntry::Missing, backoff, problem: None, renewal }
    }

    /// Starts with this certificate.
    pub(super) fn with(source: &'static str, renewal: Renewal, first: Certificate, now: SystemTime) -> Self {
        let mut own = Self { entry: CertEntry::Obtaining, ..Self::new(source, renewal) };
        let event = own.obtained(first);
        own.step(event, now);
        own
    }

    /// The certificate in use.
    pub(super) fn current(&self) -> Option<&Certificate> {
        self.entry.current()
    }

    pub(super) fn covers(&self, names: &[HostName]) -> bool {
        self.current().is_some_and(|current| current.covers(names))
    }

    /// The certificate as the status shows it.
    pub(super) fn issued(&self, remedy: &'static str) -> Issued {
        Issued { certificate: self.current().cloned(), problem: self.problem.clone(), remedy }
    }

    /// The time until a tick will change something. A wall clock may jump, so that this is never more than an hour.
    pub(super) fn pause(&self, now: SystemTime) -> Duration {
        let due = self.entry.due_at().map(|due| due.duration_since(now).unwrap_or_default());
        due.unwrap_or(LONGEST_PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Obtains another certificate when that is wanted, or when it is due; true when another one is in use from then
    /// on.
    pub(super) async fn renew<F>(&mut self, is_wanted: bool, now: SystemTime, obtain: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<Certificate, CertError>>,
    {
        let mut published = false;
        let mut next = Some(if is_wanted { CertEvent::Wanted } else { CertEvent::Tick });
        while let Some(event) = next.take() {
            let actions = self.step(event, now);
            published |= actions.contains(&CertAction::Publish);
            if actions.contains(&CertAction::Obtain) {
                next = Some(match obtain().await {
                    Ok(certificate) => self.obtained(certificate),
                    Err(error) => {
                        CertEvent::Failed { problem: in_full(&error), retry_in: self.backoff.next_delay() }
                    }
                });
            }
        }
        published
    }

    fn step(&mut self, event: CertEvent, now: SystemTime) -> Vec<CertAction> {
        let from = self.entry.name();
        let entry = std::mem::replace(&mut self.entry, CertEntry::Missing);
        let (entry, actions) = entry.on(event, now);
        self.entry = entry;
        self.log(from, now);
        if actions.contains(&CertAction::Publish) {
            self.backoff.reset();
        }
        if !matches!(self.entry, CertEntry::Obtaining | CertEntry::Renewing { .. }) {
            self.problem = self.entry.problem().map(str::to_owned);
        }
        actions
    }

    fn obtained(&mut self, certificate: Certificate) -> CertEvent {
        if let Some(place) = certificate.disorder {
            warn_of_disorder(place);
        }
        let renew_at = (self.renewal == Renewal::Ours).then(|| certificate.renew_at());
        CertEvent::Obtained { certificate, renew_at, retry_in: self.backoff.next_delay() }
    }

    fn log(&self, from: &'static str, now: SystemTime) {
        let (to, source) = (self.entry.name(), self.source);
        match &self.entry {
            _ if from == to => {}
            CertEntry::Failing { problem, .. } => {
                if self.problem.as_deref() != Some(problem.as_str()) {
                    tracing::warn!(source, from, to, problem, "no new certificate; the one in use stays");
                }
            }
            CertEntry::Valid { current, .. } => {
                let days = current.expires_in(now) / 86_400;
                tracing::info!(source, from, to, days, "a certificate is in use");
            }
            _ => tracing::debug!(source, from, to, "certificate"),
        }
    }
}

pub(super) fn warn_of_disorder(place: usize) {
    tracing::warn!(
        "certificate {place} of the chain did not sign the one before it: some clients refuse that; after each \
         certificate comes the one that signed it"
    );
}

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(60);
