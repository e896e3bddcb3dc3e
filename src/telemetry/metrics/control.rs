//! The proxy's standing with the control plane, and the telemetry's own losses.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use prometheus_client::registry::Unit;

use super::{Counter, Gauge, page::Page};
use crate::telemetry::logging;

/// The stream that configuration comes by.
#[derive(Debug, Default)]
pub struct Discovery {
    /// 1 while connected.
    pub connected: Gauge,
    pub subscriptions: Gauge,
    pub updates: Counter,
    /// Updates that were refused; the last good configuration stays.
    pub nacks: Counter,
    last_update: Gauge,
}

impl Discovery {
    pub fn updated_at(&self, at: SystemTime) {
        self.last_update.set(unix_seconds(at));
    }
}

/// The workload's own certificate.
#[derive(Debug, Default)]
pub struct Certificate {
    expiry: Gauge,
    pub renewals: Counter,
    pub renewal_failures: Counter,
}

impl Certificate {
    pub fn expires(&self, at: SystemTime) {
        self.expiry.set(unix_seconds(at));
    }
}

/// What telemetry lost rather than hold up traffic, and tasks that ended in a panic.
#[derive(Debug, Default)]
pub struct Losses {
    pub log_lines_dropped: Arc<AtomicU64>,
    pub spans_dropped: Arc<AtomicU64>,
    pub spans_exported: Counter,
    pub span_export_failures: Counter,
    pub task_failures: Counter,
    /// Connections to the admin and probe ports.
    pub port_connections_displaced: Arc<Counter>,
}

pub(super) fn unix_seconds(at: SystemTime) -> i64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A sample without labels.
pub(super) fn alone<V>(value: V) -> [([(&'static str, &'static str); 0], V); 1] {
    [([], value)]
}

/// There is one log in a process.
pub(super) fn encode_log_losses(page: &mut Page) -> fmt::Result {
    page.counters(
        ("log_dropped_lines", None),
        "Log lines dropped because whoever reads standard error did not keep up",
        alone(logging::dropped_lines()),
    )
}

pub(super) fn encode_displaced(displaced: &Counter, page: &mut Page) -> fmt::Result {
    page.counters(
        ("port_connections_displaced", None),
        "Connections to the process's own ports that were closed to let others in",
        alone(displaced.get()),
    )
}

impl Discovery {
    pub(super) fn encode(&self, page: &mut Page) -> fmt::Result {
        page.gauges(
            ("discovery_connected", None),
            "1 while the discovery stream is up",
            alone(self.connected.get()),
        )?;
        page.gauges(
            ("discovery_subscriptions", None),
            "Resources subscribed to",
            alone(self.subscriptions.get()),
        )?;
        page.counters(
            ("discovery_updates", None),
            "Updates received on the discovery stream",
            alone(self.updates.get()),
        )?;
        page.counters(
            ("discovery_nacks", None),
            "Updates refused because they were not valid",
            alone(self.nacks.get()),
        )?;
        page.gauges(
            ("discovery_last_update_timestamp", Some(Unit::Seconds)),
            "When the last update came, in Unix time; 0 before the first",
            alone(self.last_update.get()),
        )
    }
}

impl Certificate {
    pub(super) fn encode(&self, page: &mut Page) -> fmt::Result {
        page.gauges(
            ("certificate_expiry_timestamp", Some(Unit::Seconds)),
            "When the workload's certificate expires, in Unix time; 0 before there is one",
            alone(self.expiry.get()),
        )?;
        page.counters(
            ("certificate_renewals", None),
            "Certificates obtained",
            alone(self.renewals.get()),
        )?;
        page.counters(
            ("certificate_renewal_failures", None),
            "Attempts to obtain a certificate that failed",
            alone(self.renewal_failures.get()),
        )
    }
}

impl Losses {
    pub(super) fn encode(&self, page: &mut Page) -> fmt::Result {
        page.counters(
            ("access_log_dropped_lines", None),
            "Access log lines dropped because the writer did not keep up or could not write",
            alone(self.log_lines_dropped.load(Relaxed)),
        )?;
        page.counters(
            ("spans_dropped", None),
            "Spans dropped because the exporter did not keep up or could not deliver",
            alone(self.spans_dropped.load(Relaxed)),
        )?;
        page.counters(
            ("spans_exported", None),
            "Spans that a collector accepted",
            alone(self.spans_exported.get()),
        )?;
        page.counters(
            ("span_export_failures", None),
            "Batches of spans that no collector accepted",
            alone(self.span_export_failures.get()),
        )?;
        page.counters(
            ("task_failures", None),
            "Background tasks that panicked or failed; the process ends after one",
            alone(self.task_failures.get()),
        )?;
        encode_log_losses(page)?;
        encode_displaced(&self.port_connections_displaced, page)
    }
}
