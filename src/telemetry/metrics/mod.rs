//! Counts and gauges of everything the proxy does, read in the OpenMetrics text format.
//!
//! The data path resolves a handle once for each route and upstream and then only touches
//! atomics. No label holds what a client sent, and every table of series has an upper bound.

mod connections;
mod control;
mod control_plane;
mod page;
mod primitives;
mod process;
mod requests;
mod resilience;
mod table;

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};
use tokio::runtime;

pub use connections::{
    ConnectionProtocol, Connections, HandshakeResult, OpenConnection, TcpLabels, TcpSeries,
};
pub use control::{Certificate, Discovery, Losses};
pub use control_plane::{CertificateRefusal, ControlPlane, Figures};
pub use primitives::{Counter, Gauge, GaugeGuard, Histogram};
pub use requests::{FallbackKind, HttpProtocol, RequestLabels, RequestSeries};
pub use resilience::{
    BreakerScope, BreakerSeries, BulkheadLabels, BulkheadScope, BulkheadSeries, TrackedBreaker,
};

use page::Page;
use resilience::ServiceLabel;
use table::{MAX_SERIES, Table};

/// The metrics of one process. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
    registry: Arc<Registry>,
}

#[derive(Debug)]
struct Families {
    requests: Table<RequestLabels, RequestSeries>,
    breakers: Table<ServiceLabel, BreakerSeries>,
    bulkheads: Table<BulkheadLabels, BulkheadSeries>,
    tcp: Table<TcpLabels, TcpSeries>,
    connections: Arc<Connections>,
    discovery: Discovery,
    certificate: Certificate,
    losses: Losses,
    runtimes: process::Runtimes,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    pub fn new() -> Self {
        let families = Arc::new(Families {
            requests: Table::new(MAX_SERIES),
            breakers: Table::new(MAX_SERIES),
            bulkheads: Table::new(MAX_SERIES),
            tcp: Table::new(MAX_SERIES),
            connections: Arc::default(),
            discovery: Discovery::default(),
            certificate: Certificate::default(),
            losses: Losses::default(),
            runtimes: process::Runtimes::default(),
        });
        let mut registry = Registry::default();
        registry
            .sub_registry_with_prefix("outrigger")
            .register_collector(Box::new(families.clone()));
        registry.register_collector(Box::new(Process));
        Self {
            families,
            registry: Arc::new(registry),
        }
    }

    /// The series of a route and upstream: resolve it once and keep it.
    pub fn request_series(&self, labels: RequestLabels) -> Arc<RequestSeries> {
        self.families.requests.resolve(labels)
    }

    /// The breakers of a service, named `namespace/name:port`: resolve once and keep.
    pub fn breaker_series(&self, service: Arc<str>) -> Arc<BreakerSeries> {
        self.families.breakers.resolve(ServiceLabel(service))
    }

    /// The gauges of a bulkhead: resolve once and keep.
    pub fn bulkhead_series(&self, labels: BulkheadLabels) -> Arc<BulkheadSeries> {
        self.families.bulkheads.resolve(labels)
    }

    /// The byte counters of opaque connections to an upstream: resolve once and keep.
    pub fn tcp_series(&self, labels: TcpLabels) -> Arc<TcpSeries> {
        self.families.tcp.resolve(labels)
    }

    pub fn connections(&self) -> &Arc<Connections> {
        &self.families.connections
    }

    pub fn discovery(&self) -> &Discovery {
        &self.families.discovery
    }

    pub fn certificate(&self) -> &Certificate {
        &self.families.certificate
    }

    pub fn losses(&self) -> &Losses {
        &self.families.losses
    }

    /// Shows how busy a runtime is, under the name of its thread.
    pub fn watch_runtime(&self, name: impl Into<String>, runtime: &runtime::Handle) {
        let metrics = runtime.metrics();
        self.families.runtimes.add(name.into(), metrics);
    }

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a String does not fail");
        page
    }
}

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let page = &mut Page(encoder);
        requests::encode(&self.requests, page)?;
        resilience::encode_breakers(&self.breakers, page)?;
        resilience::encode_bulkheads(&self.bulkheads, page)?;
        self.connections.encode(page)?;
        connections::encode_tcp(&self.tcp, page)?;
        self.discovery.encode(page)?;
        self.certificate.encode(page)?;
        self.losses.encode(page)?;
        self.runtimes.encode(page)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauges(
            ("build_info", None),
            "1, labelled with the version that runs",
            [(version, 1u64)],
        )
    }
}

/// Metrics whose names carry no prefix of ours.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        process::encode(&mut Page(encoder))
    }
}

#[cfg(test)]
mod queries_tests;
#[cfg(test)]
mod tests;
