//! Owns durations counted in buckets.
//!
//! Never here: what is measured.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Durations counted in fixed buckets without a lock.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// The counts of the buckets, not cumulative; the last one is everything above the last bound.
    buckets: [AtomicU64; BUCKET_NANOS.len() + 1],
    /// The sum in nanoseconds; it wraps after 584 years of observed time.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKET_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BUCKET_NANOS.iter().map(|nanos| *nanos as f64 / NANOS_PER_SECOND);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / NANOS_PER_SECOND;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// The upper bounds, inclusive: from a cached answer to the default request limit.
const BUCKET_NANOS: [u64; 12] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

const NANOS_PER_SECOND: f64 = 1e9;
