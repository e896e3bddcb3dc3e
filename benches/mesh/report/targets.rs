//! The targets, as ratios within one run.

use std::fmt;

use serde::Serialize;

use crate::{
    control,
    parts::cases::{self, BARE, DEFAULT, MANY_ROUTES, ONE_ROUTE},
    results::{Metric, Part, Results},
    setup::Peer,
};

/// Two workers are compared only where client, origin and both hops leave them cores.
const CORES_TO_SPARE: usize = 8;

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

#[derive(Serialize)]
pub struct Target {
    name: &'static str,
    bound: Bound,
    /// Nothing where something that it takes was not measured.
    pub measured: Option<f64>,
    pub met: Option<bool>,
}

impl Target {
    pub fn bound(&self) -> String {
        match self.bound {
            AtMost(bound) => format!("≤ {bound}"),
            AtLeast(bound) => format!("≥ {bound}"),
        }
    }

    pub fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not judged",
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn value(&self) -> String {
        self.measured
            .map_or("–".into(), |value| format!("{value:.2}"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, bound) = (self.name, self.value(), self.bound());
        write!(f, "{name:<64} {value:>8}  {bound:>7}  {}", self.verdict())
    }
}

/// All targets, judged where what they take was measured.
pub fn judge(results: &Results, cores: usize) -> Vec<Target> {
    let of = |part, case: &str, peer: Peer, metric| {
        results.median(part, case, &peer.to_string(), metric)
    };
    let ratio = |part, case: &str, theirs: Peer, metric| {
        Some(of(part, case, Peer::Outrigger, metric)? / of(part, case, theirs, metric)?)
    };
    let between = |part, case: &str, base: &str, metric| {
        Some(of(part, case, Peer::Outrigger, metric)? / of(part, base, Peer::Outrigger, metric)?)
    };
    let h1 = cases::load("HTTP/1.1", 32, 1024);
    let grpc = cases::load("gRPC", 32, 1024);
    let cpu = Metric::CpuPerRequest;
    let many = cases::connections(10_000);
    let fewer = cases::connections(1000);
    let per_connection =
        |case: &str| of(Part::Memory, case, Peer::Outrigger, Metric::PerConnection);
    let workers = between(
        Part::Workers,
        "2 workers",
        "1 worker",
        Metric::RequestsPerSecond,
    );
    let rate = Metric::ConnectionsPerSecond;
    let control = |case: &str, metric| results.median(Part::Control, case, control::SETUP, metric);
    [
        (
            "CPU per request ÷ Envoy's",
            AtMost(0.30),
            ratio(Part::Http, &h1, Peer::Envoy, cpu),
        ),
        (
            "CPU per request ÷ HAProxy's",
            AtMost(1.0),
            ratio(Part::Http, &h1, Peer::Haproxy, cpu),
        ),
        (
            "p50 at 1,000/s ÷ Envoy's",
            AtMost(0.4),
            ratio(Part::Latency, &h1, Peer::Envoy, Metric::P50),
        ),
        (
            "p99 at 1,000/s ÷ Envoy's",
            AtMost(0.4),
            ratio(Part::Latency, &h1, Peer::Envoy, Metric::P99),
        ),
        (
            "gRPC unary: CPU per request ÷ Envoy's",
            AtMost(0.5),
            ratio(Part::Http, &grpc, Peer::Envoy, cpu),
        ),
        (
            "requests/s: two workers ÷ one",
            AtLeast(1.8),
            workers.filter(|_| cores >= CORES_TO_SPARE),
        ),
        (
            "opaque mTLS: MB/s ÷ a bare rustls copy loop's",
            AtLeast(0.9),
            ratio(
                Part::Tcp,
                cases::MTLS,
                Peer::CopyLoop,
                Metric::MegabytesPerSecond,
            ),
        ),
        (
            "full mTLS handshakes: connections/s ÷ bare rustls's",
            AtLeast(0.85),
            ratio(Part::Connections, cases::CLIENTS, Peer::CopyLoop, rate),
        ),
        (
            "MB resident, idle",
            AtMost(10.0),
            of(Part::Memory, cases::IDLE, Peer::Outrigger, Metric::Resident),
        ),
        (
            "KB per idle keep-alive connection",
            AtMost(12.0),
            per_connection(&many).or_else(|| per_connection(&fewer)),
        ),
        (
            "CPU: as users have it ÷ no traces, no breakers",
            AtMost(1.10),
            between(Part::Features, DEFAULT, BARE, cpu),
        ),
        (
            "CPU: 1,000 routes ÷ one",
            AtMost(1.05),
            between(Part::Features, MANY_ROUTES, ONE_ROUTE, cpu),
        ),
        (
            "ms until 1,000 proxies know of a changed endpoint, p99",
            AtMost(50.0),
            control(&control::proxies(1000), Metric::PropagationP99),
        ),
        (
            // The share of it that is not the same whatever the size is: caches, and trees' depth.
            "CPU of an unwatched change: 10,000 services ÷ 10",
            AtMost(2.0),
            control::unwatched_growth(results),
        ),
        (
            "s until 10,000 proxies that lost the controller are served",
            AtMost(10.0),
            control(&control::storm(10_000), Metric::Served),
        ),
        (
            "controller's MB at most, meanwhile",
            AtMost(500.0),
            control(&control::storm(10_000), Metric::Resident),
        ),
        (
            "requests lost meanwhile",
            AtMost(0.0),
            control(&control::storm(10_000), Metric::LostRequests),
        ),
    ]
    .map(|(name, bound, measured)| Target {
        name,
        bound,
        measured,
        met: measured.map(|value| match bound {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }),
    })
    .into()
}
