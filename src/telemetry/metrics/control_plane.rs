//! The controller's own metrics: its streams, its authority, its standing in the cluster.

use std::{fmt, sync::Arc, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::{Registry, Unit},
};

use super::{
    Counter, Gauge, Histogram, Process,
    control::{alone, encode_displaced, encode_log_losses, unix_seconds},
    page::Page,
};

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// The token is not one of this mesh.
    Token,
    /// Tokens could not be verified.
    Unavailable,
    /// Too many requests from one address.
    RateLimited,
    /// The request itself is no good.
    Request,
    /// The authority cannot sign.
    Authority,
}

impl CertificateRefusal {
    const ALL: [Self; 5] = [
        Self::Token,
        Self::Unavailable,
        Self::RateLimited,
        Self::Request,
        Self::Authority,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::Request => "request",
            Self::Authority => "authority",
        }
    }
}

/// The metrics of one controller. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    figures: Arc<Figures>,
    registry: Arc<Registry>,
}

/// What is counted.
#[derive(Debug, Default)]
pub struct Figures {
    pub streams: Gauge,
    pub subscriptions: Gauge,
    pub responses: Counter,
    /// Responses that proxies refused.
    pub nacks: Counter,
    /// From a change to a proxy's acknowledgement of it.
    pub propagation: Histogram,
    pub watch_restarts: Counter,
    pub certificates_signed: Counter,
    refused: [Counter; CertificateRefusal::ALL.len()],
    /// 1 while this replica leads.
    pub leader: Gauge,
    pub status_writes: Counter,
    pub events: Counter,
    /// Connections to the admin port.
    pub port_connections_displaced: Arc<Counter>,
    issuer_expiry: Gauge,
}

impl Figures {
    pub fn certificate_refused(&self, why: CertificateRefusal) {
        self.refused[why as usize].inc();
    }

    pub fn issuer_expires(&self, at: SystemTime) {
        self.issuer_expiry.set(unix_seconds(at));
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        let figures = Arc::new(Figures::default());
        let mut registry = Registry::default();
        registry
            .sub_registry_with_prefix("outrigger_controller")
            .register_collector(Box::new(figures.clone()));
        registry.register_collector(Box::new(Process));
        Self {
            figures,
            registry: Arc::new(registry),
        }
    }
}

impl ControlPlane {
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Everything, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a String does not fail");
        page
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let page = &mut Page(encoder);
        self.encode_discovery(page)?;
        self.encode_identity(page)?;
        page.gauges(
            ("leader", None),
            "1 while this replica leads: one of them does",
            alone(self.leader.get()),
        )?;
        page.counters(
            ("status_writes", None),
            "Statuses written to routes and policies",
            alone(self.status_writes.get()),
        )?;
        page.counters(
            ("events", None),
            "Events written about routes and policies",
            alone(self.events.get()),
        )?;
        encode_log_losses(page)?;
        encode_displaced(&self.port_connections_displaced, page)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauges(
            ("build_info", None),
            "1, labelled with the version that runs",
            [(version, 1u64)],
        )
    }
}

impl Figures {
    fn encode_discovery(&self, page: &mut Page) -> fmt::Result {
        page.gauges(
            ("streams", None),
            "Discovery streams that are open: one for each proxy of this replica",
            alone(self.streams.get()),
        )?;
        page.gauges(
            ("subscriptions", None),
            "Resources that streams are subscribed to, each counted for each stream",
            alone(self.subscriptions.get()),
        )?;
        page.counters(
            ("responses", None),
            "Responses sent on discovery streams",
            alone(self.responses.get()),
        )?;
        page.counters(
            ("nacks", None),
            "Responses that a proxy refused because they were not valid",
            alone(self.nacks.get()),
        )?;
        page.histograms(
            "propagation",
            "Time from a change in the registry to a proxy's acknowledgement of it",
            [([], &self.propagation)],
        )?;
        page.counters(
            ("watch_restarts", None),
            "Watches of the API server that had to be begun anew after an error",
            alone(self.watch_restarts.get()),
        )
    }

    fn encode_identity(&self, page: &mut Page) -> fmt::Result {
        page.counters(
            ("certificates_signed", None),
            "Certificates signed for workloads",
            alone(self.certificates_signed.get()),
        )?;
        let refused = CertificateRefusal::ALL.map(|why| {
            let count = self.refused[why as usize].get();
            ([("reason", why.as_str())], count)
        });
        page.counters(
            ("certificates_refused", None),
            "Requests for a certificate, and connections without one, that were refused, by reason",
            refused,
        )?;
        page.gauges(
            ("issuer_expiry_timestamp", Some(Unit::Seconds)),
            "When the issuer's certificate expires, in Unix time; 0 before there is one",
            alone(self.issuer_expiry.get()),
        )
    }
}
