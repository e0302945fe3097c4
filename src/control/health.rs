//! Owns the listener that balancers ask by HTTP: `/ready` and `/live`.
//!
//! The process itself holds this port. The ports of apps are held by systemd, and can be connected to also when there
//! is no server. Never here: whether the server is ready (`readiness`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::tasks::TaskGroup;
use crate::time::Heartbeats;

use super::readiness::ReadinessParts;
use super::reply::{CallReply, json};
use super::side_listener::{OverHttp, SideHttp, serve_at};

/// Answers balancers at `address` until stop is requested.
///
/// # Errors
/// When nothing can listen there.
pub(crate) async fn serve_health(
    address: SocketAddr,
    readiness: ReadinessParts,
    heartbeats: Heartbeats,
    stop: &TaskGroup,
) -> io::Result<()> {
    serve_at(address, OverHttp(HealthService { readiness, heartbeats }), stop).await
}

struct HealthService {
    readiness: ReadinessParts,
    heartbeats: Heartbeats,
}

/// The answer to `/live`: whether the loops of the server run.
#[derive(Serialize)]
struct Liveness {
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl SideHttp for HealthService {
    const NAME: &'static str = "health";
    const HINT: &'static str = "GET /ready, GET /live";

    async fn get(&self, path: &str) -> Option<CallReply> {
        match path {
            "/ready" => {
                let readiness = self.readiness.now().await;
                Some(json(status(readiness.ready), &readiness))
            }
            "/live" => {
                let why = self.heartbeats.standing_still(STILL);
                let why =
                    why.map(|name| format!("the {name} loop has not gone round for {} s", STILL.as_secs()));
                Some(json(status(why.is_none()), &Liveness { live: why.is_none(), why }))
            }
            _ => None,
        }
    }
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The time without a beat after which a loop counts as dead; a loop beats once a second.
const STILL: Duration = Duration::from_secs(10);
