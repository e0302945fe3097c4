//! The certificates as calls over the control socket see them: their status, and renewing, planning and importing them.
//!
//! Never here: getting, reading or choosing certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::agent::{HostStatus, Store};
use crate::api::{
    AcmeStatus, CertPlan, CertificateStatus, CheckResult, HostCertificate, ImportCert, PlanCheck, RenewEvent,
};
use crate::certs::{CertKeeper, ClientAuthorities, ServedCert};
use crate::control::{self, CertificateCall, CertificateCallError};
use crate::name::HostName;
use crate::tasks::TaskGroup;

use super::authorities::{Authorities, signed};

/// The certificates of a server. Clones share them.
#[derive(Clone)]
pub(super) struct Certificates {
    /// The keeper; `None` where no TLS is spoken.
    pub(super) keeper: Option<CertKeeper>,
    /// The authorities whose certificates clients are asked for.
    pub(super) clients: Arc<ClientAuthorities>,
    pub(super) authorities: Authorities,
    /// The folder of imported pairs.
    pub(super) imported: PathBuf,
    /// The group that renewals belong to.
    pub(super) stop: TaskGroup,
}

impl control::Certificates for Certificates {
    fn in_use(&self) -> Vec<CertificateStatus> {
        let mut status = self.keeper.as_ref().map(CertKeeper::status).unwrap_or_default();
        status.extend(self.clients.status());
        status
    }

    fn acme(&self) -> Vec<AcmeStatus> {
        self.authorities.status()
    }

    fn of(&self, hosts: &[HostName]) -> Vec<HostCertificate> {
        let Some(keeper) = &self.keeper else { return Vec::new() };
        let (standing, now) = (self.authorities.standing(), SystemTime::now());
        let by_host = |host: &HostName| standing.hosts.iter().find(|status| status.host == *host);
        let show = |(host, served): (&HostName, Option<ServedCert>)| {
            self.shown(host.clone(), served, by_host(host), now)
        };
        hosts.iter().zip(keeper.served(hosts)).map(show).collect()
    }

    fn renew(&self, host: HostName, force: bool) -> mpsc::Receiver<RenewEvent> {
        let (events, receiver) = mpsc::channel(8);
        let own = self.clone();
        self.stop.spawn("renewal", async move {
            let ended = match own.renewed(&host, force, &events).await {
                Ok(certificate) => RenewEvent::Renewed { certificate: Box::new(certificate) },
                Err(reason) => RenewEvent::Failed { host, reason },
            };
            events.send(ended).await.ok();
        });
        receiver
    }

    fn plan(&self, host: HostName) -> CertificateCall<'_, CertPlan> {
        Box::pin(async move {
            let served = self.served(&host).filter(ServedCert::is_from_people);
            let mut plan = self.authorities.plan(host).await.map_err(CertificateCallError::Conflict)?;
            if let Some(ServedCert { source, .. }) = served {
                let text =
                    format!("it has a certificate of the source `{source}`: none is ordered by itself");
                let (check, result) = ("source".to_owned(), CheckResult::Doubtful);
                plan.checks.insert(0, PlanCheck { check, result, text });
            }
            Ok(plan)
        })
    }

    fn import(&self, host: HostName, pair: ImportCert) -> CertificateCall<'_, HostCertificate> {
        Box::pin(async move {
            if self.keeper.is_none() {
                return Err(CertificateCallError::Conflict("this server speaks no TLS".into()));
            }
            let (folder, of) = (self.imported.clone(), host.clone());
            let taken = spawn_blocking(move || {
                let store = Store::open(&folder, false).map_err(|error| error.to_string())?;
                store.import(&of, &pair.cert, &pair.key, SystemTime::now())?;
                Ok(pair.cert)
            });
            let cert = taken.await.map_err(|error| CertificateCallError::Failed(error.to_string()))?;
            let cert = cert.map_err(CertificateCallError::Rejected)?;
            let serial = serial_of(&cert);
            let is = |served: &ServedCert| Some(&served.serial) == serial.as_ref();
            self.in_use_when(&host, TAKING_IN, is).await.map_err(|other| {
                CertificateCallError::Conflict(format!("the pair is kept, and is not in use: {other}"))
            })
        })
    }

    fn removed(&self, host: &HostName) -> CertificateCall<'_, ()> {
        let host = host.clone();
        Box::pin(async move { self.forget_imported(host).await.map_err(CertificateCallError::Failed) })
    }
}

impl Certificates {
    fn shown(
        &self,
        host: HostName,
        served: Option<ServedCert>,
        standing: Option<&HostStatus>,
        now: SystemTime,
    ) -> HostCertificate {
        let after = |at: SystemTime| at.duration_since(now).unwrap_or_default().as_secs();
        let of_people = served.as_ref().is_some_and(ServedCert::is_from_people);
        let standing = standing.filter(|_| !of_people);
        let renewal = self.renewal(&host, served.as_ref(), standing);
        let next = standing.and_then(|standing| standing.retry_at.or(standing.renew_at));
        HostCertificate {
            source: served.as_ref().map_or("self-signed", |served| served.source).to_owned(),
            names: served.iter().flat_map(|served| served.names.iter()).map(ToString::to_string).collect(),
            issuer: served.as_ref().map(|served| served.issuer.clone()),
            serial: served.as_ref().map(|served| served.serial.clone()),
            age: served
                .as_ref()
                .map(|served| now.duration_since(served.not_before).unwrap_or_default().as_secs()),
            expires_in: served.as_ref().map(|served| signed(served.not_after, now)),
            authority: standing.and_then(|standing| standing.issued_by.clone()),
            renewal,
            renew_in: next.map(after),
            ordering: standing.is_some_and(|standing| standing.ordering),
            problem: standing
                .and_then(|standing| standing.problem.clone())
                .or_else(|| served.and_then(|served| served.problem)),
            host,
        }
    }

    /// A sentence that says who renews the certificate, and when, or why nobody does.
    fn renewal(&self, host: &HostName, served: Option<&ServedCert>, standing: Option<&HostStatus>) -> String {
        match (served.map_or("self-signed", |served| served.source), standing) {
            ("imported", _) => format!(
                "it was imported, and is not renewed: `rip-serverctl certs renew {host}` gets another in its place"
            ),
            ("files" | "folder", _) => "whoever has put its files there renews it".into(),
            (_, Some(standing)) if standing.ordering => "one is being ordered".into(),
            (_, Some(standing)) if standing.retry_at.is_some() => "the last attempt failed: it is tried again".into(),
            (_, Some(standing)) if standing.renew_at.is_some() => {
                "by its authority, at the moment that it suggests or in the last third of the certificate's life".into()
            }
            (_, Some(standing)) if standing.problem.is_some() => "no authority is asked".into(),
            (_, Some(_)) => "its first order waits for its turn".into(),
            ("acme", None) => "it is not renewed: no authority is asked for this host".into(),
            (_, None) => "by this server, in the last third of the certificate's life; no authority is asked".into(),
        }
    }

    /// Gets a new pair, waits until it is in use, and sends an event for each step.
    async fn renewed(
        &self,
        host: &HostName,
        force: bool,
        events: &mpsc::Sender<RenewEvent>,
    ) -> Result<HostCertificate, String> {
        let before = self.served(host);
        if let Some(served) = before.as_ref().filter(|own| matches!(own.source, "files" | "folder")) {
            let setting = if served.source == "files" { "tls.cert" } else { "tls.certs" };
            return Err(format!(
                "{host} has the certificate of {setting}, which whoever put it there renews"
            ));
        }
        let _asked = self.authorities.ask_for(host).await?;
        events.send(RenewEvent::Ordering { host: host.clone() }).await.ok();
        self.authorities.renew(host.clone(), force).await?;
        events.send(RenewEvent::Issued { host: host.clone() }).await.ok();
        self.forget_imported(host.clone()).await?;
        let old = before.map(|before| before.serial);
        let is_new = |served: &ServedCert| served.source == "acme" && Some(&served.serial) != old.as_ref();
        self.in_use_when(host, TAKING_UP, is_new)
            .await
            .map_err(|other| format!("the new certificate is in the store, and is not in use: {other}"))
    }

    /// Waits until the certificate in use for the host passes `holds`.
    ///
    /// # Errors
    /// The certificate in use when the time is over.
    async fn in_use_when(
        &self,
        host: &HostName,
        limit: Duration,
        holds: impl Fn(&ServedCert) -> bool,
    ) -> Result<HostCertificate, String> {
        let Some(keeper) = &self.keeper else { return Err("this server speaks no TLS".into()) };
        let mut changes = keeper.changes();
        let looking = async {
            while !self.served(host).as_ref().is_some_and(&holds) {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if timeout(limit, looking).await.is_err() {
            let source = self.served(host).map_or("none", |served| served.source);
            return Err(format!("clients of {host} get the one of the source `{source}`"));
        }
        let shown = control::Certificates::of(self, std::slice::from_ref(host)).pop();
        shown.ok_or_else(|| "there is none".to_owned())
    }

    fn served(&self, host: &HostName) -> Option<ServedCert> {
        self.keeper.as_ref()?.served(std::slice::from_ref(host)).pop().flatten()
    }

    async fn forget_imported(&self, host: HostName) -> Result<(), String> {
        let folder = self.imported.clone();
        let forgotten = spawn_blocking(move || match folder.exists() {
            true => Store::open(&folder, false).map(|store| store.remove(&host)),
            false => Ok(()),
        });
        let failed = |error: String| format!("an imported certificate cannot be removed: {error}");
        forgotten.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

fn serial_of(pem: &str) -> Option<String> {
    let own = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
    let (_, own) = x509_parser::parse_x509_certificate(&own).ok()?;
    Some(own.raw_serial_as_string())
}

/// How long it may take until a new pair is in use: folders are looked at every 2 s, those with thousands of files
/// every minute, and a change counts after two looks.
const TAKING_UP: Duration = Duration::from_secs(150);
/// The time limit for an import, for which a person waits.
const TAKING_IN: Duration = Duration::from_secs(9);
