//! Connections, opaque bytes and TLS handshakes.

use std::{fmt, sync::Arc};

use prometheus_client::registry::Unit;

use super::{
    Counter, Gauge, GaugeGuard,
    page::{Page, Row},
    resilience::label,
    table::{Labels, Table},
};
use crate::{
    identity::{Refusal, TlsFailure},
    telemetry::{Direction, Reason},
};

label! {
    /// What a connection turned out to carry.
    ConnectionProtocol {
        Http1 = "http1",
        Http2 = "http2",
        Tcp = "tcp",
        /// An application's own TLS, passed through.
        Tls = "tls",
        /// Nobody could tell yet.
        Unknown = "unknown",
    }
}

label! {
    /// How a mesh TLS handshake ended.
    HandshakeResult {
        Ok = "ok",
        NoCertificate = "no-certificate",
        Expired = "expired",
        NotYetValid = "not-yet-valid",
        UnknownIssuer = "unknown-issuer",
        WrongTrustDomain = "wrong-trust-domain",
        /// The peer is not who the registry says it is.
        WrongIdentity = "wrong-identity",
        BadCertificate = "bad-certificate",
        Timeout = "timeout",
        /// Reset or closed before the end.
        Closed = "closed",
        Protocol = "protocol",
    }
}

impl From<TlsFailure> for HandshakeResult {
    /// The rarer failures are told apart by the log only.
    fn from(failure: TlsFailure) -> Self {
        match failure {
            TlsFailure::NoCertificate => Self::NoCertificate,
            TlsFailure::Timeout => Self::Timeout,
            TlsFailure::Closed => Self::Closed,
            TlsFailure::Refused(refusal) => match refusal {
                Refusal::Expired => Self::Expired,
                Refusal::NotYetValid => Self::NotYetValid,
                Refusal::UnknownIssuer => Self::UnknownIssuer,
                Refusal::WrongTrustDomain => Self::WrongTrustDomain,
                Refusal::WrongIdentity => Self::WrongIdentity,
                _ => Self::BadCertificate,
            },
            _ => Self::Protocol,
        }
    }
}

type ByDirection<T> = [T; Direction::ALL.len()];

/// Connections that downstreams open: from the workload (outbound) and to it (inbound).
#[derive(Debug, Default)]
pub struct Connections {
    accepted: ByDirection<Counter>,
    open: ByDirection<[Gauge; ConnectionProtocol::COUNT]>,
    parked: ByDirection<Gauge>,
    refused: ByDirection<[Counter; Reason::COUNT]>,
    handshakes: ByDirection<[Counter; HandshakeResult::COUNT]>,
    waits: ByDirection<Counter>,
    /// Times the listener could not accept: out of descriptors above all.
    pub accept_failures: Counter,
}

/// An accepted connection; it counts as open until this is dropped.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub struct OpenConnection {
    connections: Arc<Connections>,
    direction: Direction,
    held: GaugeGuard,
}

impl OpenConnection {
    /// What it turned out to carry; `Unknown` until then.
    pub fn speaks(&mut self, protocol: ConnectionProtocol) {
        let open = &self.connections.open[self.direction as usize];
        self.held = open[protocol as usize].hold();
    }
}

impl Connections {
    /// Counts an accepted connection.
    pub fn opened(self: &Arc<Self>, direction: Direction) -> OpenConnection {
        self.accepted[direction as usize].inc();
        let unknown = ConnectionProtocol::Unknown as usize;
        OpenConnection {
            connections: self.clone(),
            direction,
            held: self.open[direction as usize][unknown].hold(),
        }
    }

    /// Counts an idle HTTP/1 connection that was parked, until the guard is dropped.
    pub fn parked(&self, direction: Direction) -> GaugeGuard {
        self.parked[direction as usize].hold()
    }

    /// Counts a connection that was accepted and then refused, or cut for what came on it.
    pub fn refused(&self, direction: Direction, reason: Reason) {
        self.refused[direction as usize][reason.index()].inc();
    }

    /// Counts that further connections had to wait for a place.
    pub fn waited(&self, direction: Direction) {
        self.waits[direction as usize].inc();
    }

    /// Counts a mesh TLS handshake, as a server (inbound) or as a client (outbound).
    pub fn handshake(&self, direction: Direction, result: HandshakeResult) {
        self.handshakes[direction as usize][result as usize].inc();
    }

    pub(super) fn encode(&self, page: &mut Page) -> fmt::Result {
        let accepted = Direction::ALL.map(|direction| {
            let row = [("direction", direction.as_str())];
            (row, self.accepted[direction as usize].get())
        });
        page.counters(("connections", None), "Connections accepted", accepted)?;
        let open = Direction::ALL.iter().flat_map(|direction| {
            ConnectionProtocol::ALL.iter().map(|protocol| {
                let row = [
                    ("direction", direction.as_str()),
                    ("protocol", protocol.as_str()),
                ];
                (
                    row,
                    self.open[*direction as usize][*protocol as usize].get(),
                )
            })
        });
        page.gauges(
            ("connections_open", None),
            "Connections that are open, by what they carry",
            open,
        )?;
        let parked = Direction::ALL.map(|direction| {
            let row = [("direction", direction.as_str())];
            (row, self.parked[direction as usize].get())
        });
        page.gauges(
            ("connections_parked", None),
            "HTTP/1 connections that are idle and hold no buffers",
            parked,
        )?;
        let refused = Direction::ALL.iter().flat_map(|direction| {
            Reason::ALL.iter().map(|reason| {
                let row = [
                    ("direction", direction.as_str()),
                    ("reason", reason.as_str()),
                ];
                (row, self.refused[*direction as usize][reason.index()].get())
            })
        });
        page.counters(
            ("connections_refused", None),
            "Connections refused or cut by the proxy, by reason",
            refused.filter(|(_, count)| *count > 0),
        )?;
        let waits = Direction::ALL.map(|direction| {
            let row = [("direction", direction.as_str())];
            (row, self.waits[direction as usize].get())
        });
        page.counters(
            ("connection_limit_waits", None),
            "Times that as many connections as allowed were open, and further ones had to wait",
            waits,
        )?;
        let failures: [([(&str, &str); 0], u64); 1] = [([], self.accept_failures.get())];
        page.counters(
            ("accept_failures", None),
            "Times a listener could not accept a connection",
            failures,
        )?;
        let handshakes = Direction::ALL.iter().flat_map(|direction| {
            HandshakeResult::ALL.iter().map(|result| {
                let row = [
                    ("direction", direction.as_str()),
                    ("result", result.as_str()),
                ];
                (
                    row,
                    self.handshakes[*direction as usize][*result as usize].get(),
                )
            })
        });
        page.counters(
            ("tls_handshakes", None),
            "Mesh TLS handshakes by how they ended",
            handshakes,
        )
    }
}

/// What opaque bytes are counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpLabels {
    pub direction: Direction,
    /// The upstream, as `namespace/name:port`, or `unknown`: never a bare address.
    pub service: Arc<str>,
}

impl Labels for TcpLabels {
    fn other(&self) -> Self {
        Self {
            direction: self.direction,
            service: "other".into(),
        }
    }
}

/// The opaque connections to one upstream.
#[derive(Debug, Default)]
pub struct TcpSeries {
    connections: Counter,
    open: Gauge,
    failures: [Counter; Reason::COUNT],
    /// From the downstream to the upstream.
    pub sent_bytes: Counter,
    /// From the upstream to the downstream.
    pub received_bytes: Counter,
    /// Connections that only an auditing access policy let pass.
    pub audited: Counter,
}

impl TcpSeries {
    /// Counts a connection joined to the upstream; open until the guard is dropped.
    pub fn opened(&self) -> GaugeGuard {
        self.connections.inc();
        self.open.hold()
    }

    /// Counts a connection that never reached the upstream.
    pub fn failed(&self, reason: Reason) {
        self.failures[reason.index()].inc();
    }
}

impl TcpLabels {
    fn row(&self) -> Row<'_, 2> {
        [
            ("direction", self.direction.as_str()),
            ("service", &self.service),
        ]
    }
}

pub(super) fn encode_tcp(table: &Table<TcpLabels, TcpSeries>, page: &mut Page) -> fmt::Result {
    let all = table.snapshot();
    let rows = |read: fn(&TcpSeries) -> &Counter| {
        all.iter()
            .map(move |(labels, series)| (labels.row(), read(series).get()))
    };
    page.counters(
        ("tcp_connections", None),
        "Opaque connections joined to upstreams",
        rows(|series| &series.connections),
    )?;
    page.gauges(
        ("tcp_connections_open", None),
        "Opaque connections to upstreams that are open",
        all.iter().map(|(l, s)| (l.row(), s.open.get())),
    )?;
    let failures = all.iter().flat_map(|(labels, series)| {
        let [direction, service] = labels.row();
        let reasons = Reason::ALL.iter().zip(&series.failures);
        reasons.map(move |(reason, count)| {
            (
                [direction, service, ("reason", reason.as_str())],
                count.get(),
            )
        })
    });
    page.counters(
        ("tcp_failures", None),
        "Opaque connections that never reached their upstream, by reason",
        failures.filter(|(_, count)| *count > 0),
    )?;
    page.counters(
        ("tcp_sent", Some(Unit::Bytes)),
        "Opaque bytes sent to upstreams",
        rows(|series| &series.sent_bytes),
    )?;
    page.counters(
        ("tcp_received", Some(Unit::Bytes)),
        "Opaque bytes received from upstreams",
        rows(|series| &series.received_bytes),
    )?;
    page.counters(
        ("tcp_connections_audited", None),
        "Opaque connections that an access policy would refuse if it did not only audit",
        rows(|series| &series.audited).filter(|(_, count)| *count > 0),
    )
}
