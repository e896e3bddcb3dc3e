//! Metrics, traces, access log, and the admin port that shows them.
//!
//! The threads that carry traffic only touch atomics and bounded `try_send` here; exporting,
//! log writing and the admin port run on a thread of their own.

pub mod access_log;
pub mod admin;
pub mod context;
pub mod drain;
mod lines;
pub mod logging;
pub mod metrics;
pub mod otlp;
pub mod port;
pub mod readiness;
mod reason;
pub mod seldom;
pub mod span;
pub mod tap;
pub mod task;

pub use access_log::{AccessLog, Record as AccessRecord};
pub use context::{Sampler, TraceContext};
pub use drain::{Signal as DrainSignal, Watch as DrainWatch};
pub use metrics::{Metrics, RequestLabels, RequestSeries};
pub use readiness::Readiness;
pub use reason::Reason;
pub use span::{ActiveSpan, SpanKind, SpanSink};

/// Which way traffic crosses the proxy, seen from its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// The text in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}
