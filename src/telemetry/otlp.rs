//! Exports spans to an OpenTelemetry collector, in batches, over gRPC or HTTP.
//!
//! A collector that is slow or away costs spans, which are counted, and nothing else.

mod convert;
mod http_client;

use std::time::Duration;

use http::{Uri, uri::Scheme};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{sync::mpsc, time};

use super::{metrics::Metrics, span::Span};
use http_client::PlainHttpClient;

/// Spans in one request to the collector.
const BATCH: usize = 512;
/// From the first span of a batch to its export.
const LINGER: Duration = Duration::from_millis(500);
/// One request to the collector, from dial to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries for a batch before it is given up.
const TRIES: u32 = 5;
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Why spans cannot be exported as configured.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error(
        "{0:?} is not a collector's address: write http://host:4317 for gRPC, or http://host:4318/v1/traces for HTTP"
    )]
    Endpoint(String),
    #[error(
        "{0:?}: only http:// is supported; send spans to a collector in the mesh or on the node"
    )]
    Scheme(String),
    #[error(
        "cannot set up the export of spans to {endpoint}: {cause}; check the OTEL_EXPORTER_OTLP_* variables"
    )]
    Setup { endpoint: String, cause: String },
}

/// What a collector's address says about how to speak to it.
#[derive(Debug, PartialEq)]
enum Transport {
    Grpc,
    Http,
}

/// Sends what a [`SpanSink`](super::span::SpanSink) collects to a collector.
pub struct Exporter {
    exporter: SpanExporter,
    spans: mpsc::Receiver<Box<Span>>,
    metrics: Metrics,
    endpoint: String,
    linger: Duration,
    back_off_min: Duration,
}

impl Exporter {
    /// `endpoint` is HTTP where its port is 4318 or its path ends in `/v1/traces`, else gRPC.
    /// `resource` describes the workload: `service.name`, `service.namespace`, `k8s.pod.name`…
    ///
    /// # Errors
    /// When the endpoint cannot be used. A collector that is merely away is no error.
    ///
    /// # Panics
    /// Outside a Tokio runtime: the gRPC transport needs one.
    pub fn new(
        endpoint: &str,
        resource: impl IntoIterator<Item = (&'static str, String)>,
        spans: mpsc::Receiver<Box<Span>>,
        metrics: Metrics,
    ) -> Result<Self, OtlpError> {
        let (transport, endpoint) = parse_endpoint(endpoint)?;
        let built = match transport {
            Transport::Grpc => SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&endpoint)
                .with_timeout(TIMEOUT)
                .with_retry_policy(RetryPolicy::disabled())
                .build(),
            Transport::Http => SpanExporter::builder()
                .with_http()
                .with_http_client(PlainHttpClient::new(TIMEOUT))
                .with_endpoint(&endpoint)
                .with_timeout(TIMEOUT)
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_retry_policy(RetryPolicy::disabled())
                .build(),
        };
        let mut exporter = built.map_err(|cause| OtlpError::Setup {
            endpoint: endpoint.clone(),
            cause: cause.to_string(),
        })?;
        let attributes = resource.into_iter().map(|(k, v)| KeyValue::new(k, v));
        let resource = Resource::builder_empty().with_attributes(attributes);
        exporter.set_resource(&resource.build());
        Ok(Self {
            exporter,
            spans,
            metrics,
            endpoint,
            linger: LINGER,
            back_off_min: BACK_OFF_MIN,
        })
    }

    /// Exports until every sink is dropped and the queue is empty.
    pub async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.deliver(batch).await;
        }
    }

    /// Waits for a first span, then lets more come before it looks again: while it does, a sink
    /// that sends wakes nobody.
    async fn next_batch(&mut self) -> Option<Vec<SpanData>> {
        let first = self.spans.recv().await?;
        if self.spans.len() < BATCH {
            time::sleep(self.linger).await;
        }
        let mut batch = vec![convert::span_data(*first)];
        while batch.len() < BATCH {
            let Ok(span) = self.spans.try_recv() else {
                break;
            };
            batch.push(convert::span_data(*span));
        }
        Some(batch)
    }

    /// Tries with growing pauses; the queue behind takes what comes meanwhile, or drops it.
    async fn deliver(&self, batch: Vec<SpanData>) {
        let losses = self.metrics.losses();
        let count = batch.len() as u64;
        let mut pause = self.back_off_min;
        for attempt in 1..=TRIES {
            let Err(error) = self.exporter.export(batch.clone()).await else {
                if attempt > 1 {
                    tracing::info!(endpoint = self.endpoint, "spans are exported again");
                }
                losses.spans_exported.add(count);
                return;
            };
            losses.span_export_failures.inc();
            if attempt == 1 {
                tracing::warn!(
                    endpoint = self.endpoint,
                    %error,
                    "cannot export spans; traffic is not affected. Check that a collector listens there"
                );
            }
            if attempt < TRIES {
                time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF_MAX);
            }
        }
        losses
            .spans_dropped
            .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether spans can be sent to an address.
///
/// # Errors
/// When they cannot, with how to write one.
pub fn check(endpoint: &str) -> Result<(), OtlpError> {
    parse_endpoint(endpoint).map(drop)
}

/// The transport, and the address with the path that HTTP needs.
fn parse_endpoint(text: &str) -> Result<(Transport, String), OtlpError> {
    let invalid = || OtlpError::Endpoint(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| invalid())?;
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Err(OtlpError::Scheme(text.to_owned()));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // What follows the host is a port; one that is too large is none to the parser.
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    let bad_port = after_host.contains(':') && uri.port_u16().is_none_or(|port| port == 0);
    if uri.scheme() != Some(&Scheme::HTTP) || uri.query().is_some() || bad_port {
        return Err(invalid());
    }
    let http = uri.port_u16() == Some(4318) || uri.path().ends_with("/v1/traces");
    if !http {
        let is_bare = uri.path() == "/";
        return is_bare
            .then(|| (Transport::Grpc, text.to_owned()))
            .ok_or_else(invalid);
    }
    let base = text.trim_end_matches('/');
    let full = match base.ends_with("/v1/traces") {
        true => base.to_owned(),
        false => format!("{base}/v1/traces"),
    };
    Ok((Transport::Http, full))
}

#[cfg(test)]
mod tests;
