//! Connections, opaque bytes and TLS handshakes.

use std::{fmt, sync::Arc};

use prometheus_client::registry::Unit;

use super::{
    Counter, Gauge, GaugeGuard,
    page::Page,
    resilience::label,
    table::{Labels, Table},
};
use crate::telemetry::Direction;

label! {
    /// What a connection turned out to carry.
    ConnectionProtocol {
        Http1 = "http1",
        Http2 = "http2",
        Tcp = "tcp",
        /// An application's own TLS, passed through.
        Tls = "tls",
        /// Closed, or still open, before anyone could tell.
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

type ByDirection<T> = [T; Direction::ALL.len()];

/// Counts connections in both directions: accepted for what comes in, dialled for what goes out.
#[derive(Debug, Default)]
pub struct Connections {
    opened: ByDirection<[Counter; ConnectionProtocol::COUNT]>,
    open: ByDirection<[Gauge; ConnectionProtocol::COUNT]>,
    handshakes: ByDirection<[Counter; HandshakeResult::COUNT]>,
    /// Closed at once because of a limit on connections.
    pub refused: Counter,
}

impl Connections {
    /// Counts a connection as open until the guard is dropped. Call it when the protocol is
    /// known, or with `Unknown` when the connection ends before.
    pub fn opened(&self, direction: Direction, protocol: ConnectionProtocol) -> GaugeGuard {
        self.opened[direction as usize][protocol as usize].inc();
        self.open[direction as usize][protocol as usize].hold()
    }

    /// Counts a mesh TLS handshake, as a server (inbound) or as a client (outbound).
    pub fn handshake(&self, direction: Direction, result: HandshakeResult) {
        self.handshakes[direction as usize][result as usize].inc();
    }

    pub(super) fn encode(&self, page: &mut Page) -> fmt::Result {
        let places = || {
            Direction::ALL.iter().flat_map(|direction| {
                let protocols = ConnectionProtocol::ALL.iter();
                protocols.map(|protocol| (*direction, *protocol))
            })
        };
        let row = |d: Direction, p: ConnectionProtocol| {
            [("direction", d.as_str()), ("protocol", p.as_str())]
        };
        page.counters(
            ("connections", None),
            "Connections opened, by what they carry",
            places().map(|(d, p)| (row(d, p), self.opened[d as usize][p as usize].get())),
        )?;
        page.gauges(
            ("connections_open", None),
            "Connections that are open",
            places().map(|(d, p)| (row(d, p), self.open[d as usize][p as usize].get())),
        )?;
        let refused: [([(&str, &str); 0], u64); 1] = [([], self.refused.get())];
        page.counters(
            ("connections_refused", None),
            "Connections closed at once because too many were open",
            refused,
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

/// The bytes of opaque connections to one upstream.
#[derive(Debug, Default)]
pub struct TcpSeries {
    /// From the downstream to the upstream.
    pub sent_bytes: Counter,
    /// From the upstream to the downstream.
    pub received_bytes: Counter,
}

pub(super) fn encode_tcp(table: &Table<TcpLabels, TcpSeries>, page: &mut Page) -> fmt::Result {
    let all = table.snapshot();
    let rows = |read: fn(&TcpSeries) -> &Counter| {
        all.iter().map(move |(labels, series)| {
            let direction = ("direction", labels.direction.as_str());
            (
                [direction, ("service", &*labels.service)],
                read(series).get(),
            )
        })
    };
    page.counters(
        ("tcp_sent", Some(Unit::Bytes)),
        "Opaque bytes sent to upstreams",
        rows(|series| &series.sent_bytes),
    )?;
    page.counters(
        ("tcp_received", Some(Unit::Bytes)),
        "Opaque bytes received from upstreams",
        rows(|series| &series.received_bytes),
    )
}
