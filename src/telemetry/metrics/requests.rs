//! What is counted for every request.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;
use prometheus_client::registry::Unit;

use super::{
    Counter, Gauge, GaugeGuard, Histogram,
    page::{Page, Row},
    table::{Labels, Table},
};
use crate::telemetry::{Direction, Reason};

/// What an exchange speaks, as far as it matters to who reads metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpProtocol {
    Http1,
    Http2,
    Grpc,
}

impl HttpProtocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// What a request is counted under. Every value comes from configuration or the registry; what
/// a client sends (a host, a path, a method) never is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    pub direction: Direction,
    /// The upstream, as `namespace/name:port`.
    pub service: Arc<str>,
    /// [`Route::name`](crate::discovery::model::Route), empty where no route matched.
    pub route: Arc<str>,
    pub protocol: HttpProtocol,
}

impl Labels for RequestLabels {
    fn other(&self) -> Self {
        Self {
            service: "other".into(),
            route: "other".into(),
            ..*self
        }
    }
}

impl RequestLabels {
    fn row(&self) -> Row<'_, 4> {
        [
            ("direction", self.direction.as_str()),
            ("service", &self.service),
            ("route", &self.route),
            ("protocol", self.protocol.as_str()),
        ]
    }
}

/// How a response came about that the upstream did not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FallbackKind {
    Stale,
    Service,
    Static,
}

impl FallbackKind {
    const ALL: [Self; 3] = [Self::Stale, Self::Service, Self::Static];

    /// The value of the `outrigger-fallback` header and of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Service => "service",
            Self::Static => "static",
        }
    }
}

/// First digits of the statuses, and `none` for an exchange that ended without a response.
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// One for each reason, and the first for none.
const OUTCOMES: usize = 1 + Reason::COUNT;

/// The names of the gRPC status codes, in their order.
const GRPC_CODES: [&str; 18] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
    "invalid",
];

/// The counters of one label set: resolved once, then updated without a lock or a look-up.
#[derive(Debug)]
pub struct RequestSeries {
    finished: [[Counter; OUTCOMES]; STATUS_CLASSES.len()],
    /// By gRPC status code; the last is for codes that do not exist.
    grpc: [Counter; GRPC_CODES.len()],
    duration: Histogram,
    in_flight: Gauge,
    retries: Counter,
    retries_denied: Counter,
    fallbacks: [Counter; FallbackKind::ALL.len()],
    request_bytes: Counter,
    response_bytes: Counter,
    audited: Counter,
}

impl Default for RequestSeries {
    fn default() -> Self {
        Self {
            finished: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            grpc: Default::default(),
            duration: Histogram::default(),
            in_flight: Gauge::default(),
            retries: Counter::default(),
            retries_denied: Counter::default(),
            fallbacks: Default::default(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            audited: Counter::default(),
        }
    }
}

impl RequestSeries {
    /// Counts the exchange as under way until the guard is dropped: when its body has ended.
    pub fn started(&self) -> GaugeGuard {
        self.in_flight.hold()
    }

    /// Counts an exchange that has ended. `status` is what the downstream got, None where it
    /// got none; `reason` says why the proxy answered or ended it, where it did.
    pub fn finished(&self, status: Option<StatusCode>, reason: Option<Reason>, duration: Duration) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        let outcome = reason.map_or(0, |reason| 1 + reason.index());
        self.finished[class][outcome].inc();
        self.duration.observe(duration);
    }

    /// Counts the `grpc-status` of a gRPC call that has ended: its HTTP status says nothing.
    pub fn grpc_finished(&self, code: u32) {
        let code = (code as usize).min(GRPC_CODES.len() - 1);
        self.grpc[code].inc();
    }

    pub fn retried(&self) {
        self.retries.inc();
    }

    /// Counts a further try that the policy allowed and the retry budget did not.
    pub fn retry_denied(&self) {
        self.retries_denied.inc();
    }

    pub fn fell_back(&self, kind: FallbackKind) {
        self.fallbacks[kind as usize].inc();
    }

    /// Counts a request that only an auditing access policy let pass.
    pub fn audited(&self) {
        self.audited.inc();
    }

    /// Body bytes that went to the upstream.
    pub fn request_bytes(&self, n: u64) {
        self.request_bytes.add(n);
    }

    /// Body bytes that went to the downstream.
    pub fn response_bytes(&self, n: u64) {
        self.response_bytes.add(n);
    }

    /// Every outcome that has happened: status class, reason or `""`, and how often.
    fn outcomes(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let classes = STATUS_CLASSES.iter().zip(&self.finished);
        let all = classes.flat_map(|(class, outcomes)| {
            let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
            let reasons = std::iter::once("").chain(reasons);
            reasons
                .zip(outcomes)
                .map(move |(reason, count)| (*class, reason, count.get()))
        });
        all.filter(|(_, _, count)| *count > 0)
    }
}

pub(super) fn encode(table: &Table<RequestLabels, RequestSeries>, page: &mut Page) -> fmt::Result {
    let all = table.snapshot();
    let outcomes = all.iter().flat_map(|(labels, series)| {
        let [direction, service, route, protocol] = labels.row();
        series.outcomes().map(move |(status, reason, count)| {
            let ends = [("status", status), ("reason", reason)];
            let [status, reason] = ends;
            ([direction, service, route, protocol, status, reason], count)
        })
    });
    page.counters(
        ("requests", None),
        "Requests that have ended, by status class and, where the proxy answered or ended them, reason",
        outcomes,
    )?;
    let grpc = all.iter().flat_map(|(labels, series)| {
        let [direction, service, route, protocol] = labels.row();
        let codes = GRPC_CODES.iter().zip(&series.grpc);
        codes.map(move |(code, count)| {
            (
                [direction, service, route, protocol, ("code", *code)],
                count.get(),
            )
        })
    });
    page.counters(
        ("grpc_calls", None),
        "gRPC calls that have ended, by their gRPC status code",
        grpc.filter(|(_, count)| *count > 0),
    )?;
    page.histograms(
        "request_duration",
        "Time from a request's headers to the end of its response's body",
        all.iter().map(|(l, s)| (l.row(), &s.duration)),
    )?;
    page.gauges(
        ("requests_in_flight", None),
        "Requests under way, bodies included",
        all.iter().map(|(l, s)| (l.row(), s.in_flight.get())),
    )?;
    page.counters(
        ("retries", None),
        "Further tries sent after a first one failed",
        all.iter().map(|(l, s)| (l.row(), s.retries.get())),
    )?;
    page.counters(
        ("retries_denied", None),
        "Further tries that were not sent because the retry budget was spent",
        all.iter().map(|(l, s)| (l.row(), s.retries_denied.get())),
    )?;
    let fallbacks = all.iter().flat_map(|(labels, series)| {
        let [direction, service, route, protocol] = labels.row();
        FallbackKind::ALL.iter().map(move |kind| {
            let kind_label = ("kind", kind.as_str());
            let row = [direction, service, route, protocol, kind_label];
            (row, series.fallbacks[*kind as usize].get())
        })
    });
    page.counters(
        ("fallbacks", None),
        "Responses that a fallback gave in the upstream's place",
        fallbacks,
    )?;
    page.counters(
        ("request_body", Some(Unit::Bytes)),
        "Request body bytes sent to upstreams",
        all.iter().map(|(l, s)| (l.row(), s.request_bytes.get())),
    )?;
    page.counters(
        ("response_body", Some(Unit::Bytes)),
        "Response body bytes sent to downstreams",
        all.iter().map(|(l, s)| (l.row(), s.response_bytes.get())),
    )?;
    page.counters(
        ("requests_audited", None),
        "Requests that an access policy would refuse if it did not only audit",
        all.iter()
            .map(|(l, s)| (l.row(), s.audited.get()))
            .filter(|(_, count)| *count > 0),
    )
}
