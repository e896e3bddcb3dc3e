//! What the application, and the services that it calls, answered by themselves.

use crate::{
    cli::cluster::{Page, Sample},
    telemetry::Direction,
};

/// Of one upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Whether it is the application beside the proxy.
    pub inbound: bool,
    /// `namespace/name:port`.
    pub service: String,
    pub requests: Counted,
    /// With a 5xx that is none of the proxy's.
    pub failed: Counted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counted {
    /// Since the proxy started.
    pub total: f64,
    /// While it was watched.
    pub recent: f64,
}

impl Answers {
    pub fn is_to(&self, upstream: &str) -> bool {
        !self.inbound && self.service == upstream
    }
}

/// The application first, then the services by name. What comes in is one, by whatever Service.
pub fn answers(before: Option<&Page>, now: &Page) -> Vec<Answers> {
    let mut all: Vec<Answers> = Vec::new();
    for sample in now.named("outrigger_requests_total") {
        let inbound = sample.label("direction") == Direction::Inbound.as_str();
        let service = if inbound { "" } else { sample.label("service") };
        let known = all
            .iter_mut()
            .find(|known| known.inbound == inbound && known.service == service);
        let known = match known {
            Some(known) => known,
            None => {
                all.push(Answers {
                    inbound,
                    service: service.to_owned(),
                    requests: Counted::default(),
                    failed: Counted::default(),
                });
                all.last_mut().expect("one was pushed just now")
            }
        };
        let counted = counted(before, sample);
        known.requests.add(counted);
        if sample.label("status") == "5xx" && sample.label("reason").is_empty() {
            known.failed.add(counted);
        }
    }
    all.sort_by(|a, b| (!a.inbound, &a.service).cmp(&(!b.inbound, &b.service)));
    all
}

impl Counted {
    pub fn add(&mut self, other: Self) {
        self.total += other.total;
        self.recent += other.recent;
    }
}

/// How far a counter is, and how far it came since an earlier look. Without one nothing is known
/// to be recent.
pub fn counted(before: Option<&Page>, sample: &Sample) -> Counted {
    let recent = before.map(|page| {
        let mut same = page
            .named(&sample.name)
            .filter(|old| old.labels == sample.labels);
        let earlier = same.next().map_or(0.0, |old| old.value);
        (sample.value - earlier).max(0.0)
    });
    Counted {
        total: sample.value,
        recent: recent.unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_each_answered_by_itself() {
        let page = |good: u32, bad: u32| {
            Page::parse(&format!(
                "outrigger_requests_total{{direction=\"inbound\",service=\"local\",status=\"2xx\",reason=\"\"}} {good}
outrigger_requests_total{{direction=\"inbound\",service=\"shop/cart:80\",status=\"5xx\",reason=\"\"}} {bad}
outrigger_requests_total{{direction=\"inbound\",service=\"local\",status=\"5xx\",reason=\"bulkhead-full\"}} 7
outrigger_requests_total{{direction=\"outbound\",service=\"shop/pay:80\",status=\"2xx\",reason=\"\"}} 5
"
            ))
        };
        let found = answers(Some(&page(10, 1)), &page(14, 3));
        let count = |total, recent| Counted { total, recent };
        assert_eq!(found.len(), 2);
        assert!(found[0].inbound);
        assert_eq!(found[0].requests, count(24.0, 6.0));
        assert_eq!(found[0].failed, count(3.0, 2.0));
        assert!(found[1].is_to("shop/pay:80"));
        assert_eq!(found[1].failed, Counted::default());
        let without = answers(None, &page(14, 3));
        assert_eq!(without[0].failed, count(3.0, 0.0));
    }
}
