//! Owns `metrics`.
//!
//! Never here: what is counted.

use clap::Args;
use serde::Serialize;

use crate::api::endpoints;
use crate::ctl::error::{CtlError, Exit};
use crate::ctl::session::Caller;

/// Print the metrics as Prometheus reads them
#[derive(Debug, Args)]
pub(in crate::ctl) struct MetricsVerb;

impl MetricsVerb {
    pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
        caller.ask(async |session| {
            let answer = session.client.text(&endpoints::METRICS, &()).await?;
            if session.json {
                let metrics = String::from_utf8_lossy(&answer);
                session.screen.json(&MetricsReport { ok: true, metrics: &metrics });
            } else {
                session.screen.data(&answer);
            }
            Ok(Exit::Ok)
        })
    }
}

#[derive(Serialize)]
struct MetricsReport<'a> {
    ok: bool,
    metrics: &'a str,
}
