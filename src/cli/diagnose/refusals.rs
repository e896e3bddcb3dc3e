//! What a proxy refused or failed, by reason, from its metrics.

use serde::Serialize;

use super::answers::counted;
use crate::{
    cli::cluster::{Page, Sample},
    telemetry::{Direction, Reason},
};

/// One reason, for one direction and service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub direction: String,
    pub service: String,
    pub reason: String,
    /// Since the proxy started.
    pub total: f64,
    /// While it was watched.
    pub recent: f64,
    /// What to do about it.
    pub advice: String,
}

/// The counters that have a reason.
const COUNTERS: [&str; 3] = [
    "outrigger_requests_total",
    "outrigger_connections_refused_total",
    "outrigger_tcp_failures_total",
];

/// Those that happened while the proxy was watched first, then by number. What a client did by
/// going away is none.
pub fn refusals(before: Option<&Page>, now: &Page) -> Vec<Refusal> {
    let mut all: Vec<Refusal> = Vec::new();
    for name in COUNTERS {
        for sample in now.named(name).filter(|sample| has_reason(sample)) {
            let counted = counted(before, sample);
            let direction = sample.label("direction");
            // What comes in is one, by whatever Service and whether as a request or not.
            let service = match direction == Direction::Inbound.as_str() {
                true => "local",
                false => sample.label("service"),
            };
            let reason = sample.label("reason");
            let known = all.iter_mut().find(|known| {
                known.direction == direction && known.service == service && known.reason == reason
            });
            match known {
                Some(known) => {
                    known.total += counted.total;
                    known.recent += counted.recent;
                }
                None => all.push(Refusal {
                    direction: direction.to_owned(),
                    service: service.to_owned(),
                    reason: reason.to_owned(),
                    total: counted.total,
                    recent: counted.recent,
                    advice: advice(reason).to_owned(),
                }),
            }
        }
    }
    all.sort_by(|a, b| {
        (b.recent, b.total)
            .partial_cmp(&(a.recent, a.total))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    all
}

fn has_reason(sample: &Sample) -> bool {
    let reason = sample.label("reason");
    !reason.is_empty() && reason != Reason::ClientCancelled.as_str() && sample.value > 0.0
}

fn advice(reason: &str) -> &'static str {
    Reason::from_word(reason.as_bytes()).map_or(
        "A reason of another version: look into docs/reasons.md of that one.",
        |reason| reason.advice(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_ones_come_first_and_clients_that_left_do_not_count() {
        let page = |open: u32, full: u32| {
            Page::parse(&format!(
                "outrigger_requests_total{{direction=\"outbound\",service=\"shop/cart:80\",route=\"a\",status=\"5xx\",reason=\"breaker-open\"}} {open}
outrigger_requests_total{{direction=\"outbound\",service=\"shop/cart:80\",route=\"b\",status=\"5xx\",reason=\"breaker-open\"}} 1
outrigger_requests_total{{direction=\"outbound\",service=\"shop/cart:80\",route=\"a\",status=\"2xx\",reason=\"\"}} 900
outrigger_requests_total{{direction=\"inbound\",service=\"local\",route=\"\",status=\"none\",reason=\"client-cancelled\"}} 50
outrigger_requests_total{{direction=\"inbound\",service=\"local\",route=\"\",status=\"5xx\",reason=\"bulkhead-full\"}} {full}
outrigger_connections_refused_total{{direction=\"inbound\",reason=\"plaintext-refused\"}} 0
"
            ))
        };
        let found = refusals(Some(&page(5, 100)), &page(8, 100));
        let seen: Vec<_> = found
            .iter()
            .map(|r| (r.reason.as_str(), r.total, r.recent))
            .collect();
        assert_eq!(
            seen,
            [("breaker-open", 9.0, 3.0), ("bulkhead-full", 100.0, 0.0)]
        );
        assert_eq!(found[0].advice, Reason::BreakerOpen.advice());
        assert!(
            refusals(None, &page(5, 100))
                .iter()
                .all(|r| r.recent == 0.0)
        );
    }
}
