//! Wires to the data path what handshakes need: the server's certificates, the authorities of clients' certificates,
//! and the keys of tickets.
//!
//! Never here: obtaining a certificate, or shaking hands.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use crate::acceptor::{ChooseTls, ClientCertCheck, TlsChoice};
use crate::certs::{
    CertKeeper, CertKeeperParts, CertResolver, ClientAuthorities, HandshakeChoice, HandshakeSettings,
    TicketKeys,
};
use crate::challenges::Challenges;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::spec::{CertSources, ServerSpec};
use crate::system::{notify, sd};
use crate::tasks::TaskGroup;
use crate::time::WallClock;

/// The parts with which a server speaks TLS.
#[derive(Clone)]
pub(super) struct ServerTls {
    resolver: Arc<CertResolver>,
    authorities: Arc<ClientAuthorities>,
}

/// The settings of handshakes, which are still being made.
pub(super) struct Handshakes(JoinHandle<Result<(HandshakeSettings, TicketKeys), rustls::Error>>);

impl ServerTls {
    /// Starts without a certificate.
    pub(super) fn new() -> Self {
        let resolver = Arc::new(CertResolver::new(WallClock::system()));
        Self { authorities: Arc::new(ClientAuthorities::new(Arc::clone(&resolver))), resolver }
    }

    /// The authorities of client certificates.
    pub(super) fn authorities(&self) -> Arc<ClientAuthorities> {
        Arc::clone(&self.authorities)
    }

    /// Makes the settings of handshakes on another thread: the keys of tickets are the first random numbers of the
    /// process, for which randomness is gathered in some 30 ms, and they are not needed before the first connection.
    /// `tickets`: the keys of the server before.
    pub(super) fn handshakes(
        &self,
        spec: &ServerSpec,
        directory: &Directory,
        tickets: Option<Vec<u8>>,
    ) -> Handshakes {
        let Self { resolver, authorities } = self.clone();
        let (directory, client) = (directory.clone(), spec.client.clone());
        Handshakes(spawn_blocking(move || {
            let tickets = TicketKeys::new(tickets.as_deref(), SystemTime::now())?;
            keep_over_restart(&tickets);
            let settings = HandshakeSettings::new(resolver, directory, authorities, client, tickets.clone())?;
            Ok((settings, tickets))
        }))
    }

    /// Obtains the server's certificates, and from then on looks after them and after the files of client authorities.
    ///
    /// # Errors
    /// When files that settings name cannot be used.
    pub(super) async fn keep(
        &self,
        spec: &ServerSpec,
        sources: CertSources,
        directory: &Directory,
        metrics: &Metrics,
        stop: &TaskGroup,
    ) -> anyhow::Result<CertKeeper> {
        let (authorities, stopped) = (self.authorities(), stop.clone());
        stop.spawn("client authorities", async move {
            tokio::select! {
                () = stopped.requested() => {}
                () = authorities.look_after() => {}
            }
        });
        let parts = CertKeeperParts {
            sources,
            state_dir: spec.state_dir.clone(),
            directory: directory.clone(),
            resolver: Arc::clone(&self.resolver),
            clock: WallClock::system(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        Ok(CertKeeper::start(parts).await?)
    }
}

impl Handshakes {
    /// Returns what chooses each handshake's settings: an authority that asks for the answer to its challenge gets only
    /// that answer. The keys of tickets are rotated from now on.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) async fn choose(self, challenges: Challenges, stop: &TaskGroup) -> anyhow::Result<ChooseTls> {
        let (settings, tickets) = self.0.await??;
        let stopped = stop.clone();
        stop.spawn("ticket keys", async move {
            tokio::select! {
                () = stopped.requested() => {}
                () = rotate(tickets) => {}
            }
        });
        Ok(Arc::new(move |hello, local| match challenges.handshake(hello) {
            Some(answer) => answer.map(|config| TlsChoice { config, client: None }),
            None => settings.choose(hello, local).map(choice),
        }))
    }
}

/// Rotates the keys of session tickets when they are due. Never returns.
async fn rotate(tickets: TicketKeys) {
    loop {
        sleep(LOOK_AT_KEYS).await;
        let own = tickets.clone();
        let rotated = spawn_blocking(move || {
            let is_new = own.rotate(SystemTime::now())?;
            if is_new {
                keep_over_restart(&own);
            }
            Ok::<_, rustls::Error>(())
        });
        if let Ok(Err(error)) = rotated.await {
            tracing::warn!(%error, "the keys of session tickets were not replaced");
        }
    }
}

/// Has systemd keep the keys of tickets. Blocks.
fn keep_over_restart(tickets: &TicketKeys) {
    if let Err(error) = notify::keep(sd::TICKETS, &tickets.to_keep()) {
        tracing::warn!(%error, "systemd does not keep the keys of session tickets: after a restart each client shakes hands anew");
    }
}

fn choice(made: HandshakeChoice) -> TlsChoice {
    let client = made.client.map(|authority| ClientCertCheck {
        asked: authority.asked().clone(),
        judge: Box::new(move |chain| authority.judge(chain)),
    });
    TlsChoice { config: made.config, client }
}

const LOOK_AT_KEYS: Duration = Duration::from_secs(60);
