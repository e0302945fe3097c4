//! Stub.
/// Counters of one app.
#[derive(Clone)]
pub struct AppMetrics;
