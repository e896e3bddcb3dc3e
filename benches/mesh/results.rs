//! What has been measured: for each part, case, setup and metric the values of all rounds.

use std::{collections::BTreeMap, fmt};

use clap::ValueEnum;
use serde::Serialize;

use crate::{setup::Peer, stats::Spread};

/// A part of a run, which can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// HTTP/1.1, HTTP/2 and gRPC over two hops, as fast as it goes.
    Http,
    /// The same at a fixed rate.
    Latency,
    /// One hop without TLS.
    Gateway,
    /// Messages of gRPC streams.
    Streaming,
    /// Opaque TCP.
    Tcp,
    /// New connections, a full mTLS handshake each.
    Connections,
    /// Memory: idle, with silent connections, and after they have gone.
    Memory,
    /// What Outrigger's features cost.
    Features,
    /// One worker against two.
    Workers,
    /// From the start to the first answer, and the size of the binary.
    Start,
    /// The control plane.
    Control,
}

impl Part {
    pub fn title(self) -> &'static str {
        match self {
            Self::Http => "Two hops with mTLS, as fast as it goes",
            Self::Latency => "Two hops with mTLS at 1,000 requests/s",
            Self::Gateway => "One hop without TLS, 32 connections, 1 KiB",
            Self::Streaming => "gRPC streams of 1 KiB messages, two hops with mTLS",
            Self::Tcp => "Opaque TCP, one connection, two hops",
            Self::Connections => "New connections, a full mTLS handshake each",
            Self::Memory => "Memory of the larger hop, HTTP/1.1 clients",
            Self::Features => "What features cost: HTTP/1.1, 32 connections, 1 KiB",
            Self::Workers => "Worker threads: HTTP/1.1, 32 connections, 1 KiB",
            Self::Start => "Start of both hops to the first answer; binary",
            Self::Control => "Control plane",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    CpuPerRequest,
    RequestsPerSecond,
    P50,
    P90,
    P99,
    MessagesPerSecond,
    CpuPerMessage,
    MegabytesPerSecond,
    CpuPerGigabyte,
    ConnectionsPerSecond,
    CpuPerConnection,
    Resident,
    Anonymous,
    PerConnection,
    Started,
    Loaded,
    PropagationP50,
    PropagationP99,
    CpuPerChange,
    Served,
    ControllerCpu,
    LostRequests,
}

impl Metric {
    /// Heading of its column, and decimals of its values.
    pub fn form(self) -> (&'static str, usize) {
        match self {
            Self::CpuPerRequest => ("CPU µs/request", 1),
            Self::RequestsPerSecond => ("requests/s", 0),
            Self::P50 => ("p50 µs", 0),
            Self::P90 => ("p90 µs", 0),
            Self::P99 => ("p99 µs", 0),
            Self::MessagesPerSecond => ("messages/s", 0),
            Self::CpuPerMessage => ("CPU µs/message", 2),
            Self::MegabytesPerSecond => ("MB/s", 0),
            Self::CpuPerGigabyte => ("CPU s/GB", 2),
            Self::ConnectionsPerSecond => ("connections/s", 0),
            Self::CpuPerConnection => ("CPU µs/connection", 0),
            Self::Resident => ("MB resident", 1),
            Self::Anonymous => ("MB of its own", 1),
            Self::PerConnection => ("KB/connection", 1),
            Self::Started => ("ms to answer", 0),
            Self::Loaded => ("MB loaded", 1),
            Self::PropagationP50 => ("p50 ms", 2),
            Self::PropagationP99 => ("p99 ms", 2),
            Self::CpuPerChange => ("CPU µs/change", 1),
            Self::Served => ("s until all served", 1),
            Self::ControllerCpu => ("CPU s", 1),
            Self::LostRequests => ("requests lost", 0),
        }
    }

    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::RequestsPerSecond
                | Self::MessagesPerSecond
                | Self::MegabytesPerSecond
                | Self::ConnectionsPerSecond
        )
    }
}

/// All values of one thing.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub part: Part,
    pub case: String,
    pub setup: String,
    pub metric: Metric,
    pub values: Vec<f64>,
}

#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub entries: Vec<Entry>,
    /// Of the peers that were measured.
    pub versions: BTreeMap<Peer, String>,
    /// Peers that are not there, and why.
    pub skipped: BTreeMap<Peer, String>,
    /// What could not be measured.
    pub failures: Vec<String>,
}

impl Results {
    pub fn add(
        &mut self,
        part: Part,
        case: impl fmt::Display,
        setup: impl fmt::Display,
        metric: Metric,
        value: f64,
    ) {
        let (case, setup) = (case.to_string(), setup.to_string());
        let same = |entry: &&mut Entry| {
            (entry.part, entry.metric) == (part, metric)
                && entry.case == case
                && entry.setup == setup
        };
        match self.entries.iter_mut().find(same) {
            Some(entry) => entry.values.push(value),
            None => self.entries.push(Entry {
                part,
                case,
                setup,
                metric,
                values: vec![value],
            }),
        }
    }

    pub fn of(&self, part: Part) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.part == part)
    }

    pub fn spread(&self, part: Part, case: &str, setup: &str, metric: Metric) -> Option<Spread> {
        let mut entries = self.of(part);
        let entry = entries
            .find(|entry| entry.metric == metric && entry.case == case && entry.setup == setup)?;
        Spread::of(&entry.values)
    }

    pub fn median(&self, part: Part, case: &str, setup: &str, metric: Metric) -> Option<f64> {
        Some(self.spread(part, case, setup, metric)?.median)
    }
}
