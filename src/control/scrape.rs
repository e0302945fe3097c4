//! Owns what Prometheus scrapes: `GET /metrics` over plain HTTP, and nothing else.
//!
//! Never here: anything that changes the server; that needs the control socket.

use std::io;
use std::net::SocketAddr;

use crate::api::endpoint::Text;
use crate::metrics::Metrics;
use crate::supervisor::Supervisor;
use crate::tasks::TaskGroup;

use super::reply::{CallReply, EndpointAnswer};
use super::side_listener::{OverHttp, SideHttp, serve_at};

/// Answers scrapes at `address` until stop is requested.
///
/// # Errors
/// When nothing can listen there.
pub(crate) async fn serve_metrics(
    address: SocketAddr,
    supervisor: Supervisor,
    metrics: Metrics,
    stop: TaskGroup,
) -> io::Result<()> {
    serve_at(address, OverHttp(Scrape { supervisor, metrics, stop: stop.clone() }), &stop).await
}

struct Scrape {
    supervisor: Supervisor,
    metrics: Metrics,
    stop: TaskGroup,
}

impl SideHttp for Scrape {
    const NAME: &'static str = "metrics";
    const HINT: &'static str = "GET /metrics";

    async fn get(&self, path: &str) -> Option<CallReply> {
        if path != "/metrics" {
            return None;
        }
        // Reading the apps brings their gauges up to date.
        drop(self.supervisor.apps().await);
        Some(Text::into_reply(self.metrics.render(), self.stop.clone()))
    }
}
