//! Counter, gauge and histogram as plain atomics: an update is one or three relaxed additions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes over a total that somebody else counts. A smaller one than before changes nothing.
    pub fn raise_to(&self, total: u64) {
        self.0.fetch_max(total, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down. Clones are the same gauge.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// Counts one more for as long as the guard lives.
    pub fn hold(&self) -> GaugeGuard {
        self.add(1);
        GaugeGuard(self.clone())
    }
}

/// One of what a [`Gauge`] counts; gone when dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// The upper bounds of the buckets in microseconds: 0.5 ms to 30 s, at most 2.5 times apart.
const BOUNDS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The durations of events, in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what lies above them all. Not cumulative.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // A value equal to a bound belongs below it, as Prometheus defines `le`.
        let micros = nanos.div_ceil(1_000);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> std::fmt::Result {
        // The encoder takes the largest number for +Inf.
        let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        let bounds = bounds.chain([f64::MAX]);
        let loads = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(loads).collect();
        // Taken from the same loads as the buckets, so that the count equals the last of them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum_nanos.load(Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
