//! What happened between two scrapes, by workload. Pure: time comes with the scrapes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scrape::Scraped;
use crate::{
    cli::cluster::{Page, Sample},
    telemetry::Direction,
};

/// One workload, or one service that a workload calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `namespace/kind/name`.
    pub workload: String,
    /// The service that it calls; absent for what comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Proxies that counted.
    pub pods: usize,
    /// Requests that ended, per second.
    pub rate: f64,
    /// The share of them that did not fail, 0 to 1; absent without any.
    pub success: Option<f64>,
    /// Quantiles of their durations in seconds; absent without any. Estimated within the
    /// histogram's buckets; infinite above the last.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub in_flight: f64,
}

/// The sums that a row is made of.
#[derive(Default)]
struct Sums {
    pods: usize,
    rate: f64,
    requests: f64,
    failures: f64,
    in_flight: f64,
    /// Requests by the upper bound of their bucket, not cumulative.
    buckets: BTreeMap<Bound, f64>,
}

/// A bucket's upper bound in seconds, ordered; the text `+Inf` is infinite.
#[derive(Clone, Copy, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A row for each workload (and, outbound, each service that it calls). A pod that is in one
/// scrape alone counts in none; counters that went back have started anew.
pub fn between(before: &[Scraped], after: &[Scraped], direction: Direction) -> Vec<Row> {
    let mut sums: BTreeMap<(String, Option<String>), Sums> = BTreeMap::new();
    for new in after {
        let Some(old) = before.iter().find(|old| old.pod == new.pod) else {
            continue;
        };
        let seconds = new.at.duration_since(old.at).as_secs_f64().max(0.001);
        for service in services(&new.page, direction) {
            let key = (new.workload.clone(), service.clone());
            let entry = sums.entry(key).or_default();
            add(
                entry,
                &old.page,
                &new.page,
                direction,
                service.as_deref(),
                seconds,
            );
        }
    }
    let row = |((workload, service), sums): (_, Sums)| Row {
        workload,
        service,
        pods: sums.pods,
        rate: sums.rate,
        success: (sums.requests > 0.0).then(|| 1.0 - sums.failures / sums.requests),
        p50: quantile(&sums.buckets, 0.5),
        p95: quantile(&sums.buckets, 0.95),
        p99: quantile(&sums.buckets, 0.99),
        in_flight: sums.in_flight,
    };
    sums.into_iter().map(row).collect()
}

/// What gets a row of its own: all that comes in together, what goes out by service.
fn services(page: &Page, direction: Direction) -> Vec<Option<String>> {
    if direction == Direction::Inbound {
        return vec![None];
    }
    let calls = page.named("outrigger_requests_in_flight");
    let calls = calls.filter(|sample| sample.label("direction") == direction.as_str());
    let mut services: Vec<_> = calls
        .map(|sample| Some(sample.label("service").to_owned()))
        .collect();
    services.sort();
    services.dedup();
    services
}

fn add(
    sums: &mut Sums,
    old: &Page,
    new: &Page,
    direction: Direction,
    service: Option<&str>,
    seconds: f64,
) {
    let counts = |sample: &&Sample| {
        sample.label("direction") == direction.as_str()
            && service.is_none_or(|service| sample.label("service") == service)
    };
    let grown = |name: &str| -> Vec<(Sample, f64)> {
        let growth = new.named(name).filter(counts).map(|sample| {
            let before = old.named(name).find(|old| old.labels == sample.labels);
            let before = before.map_or(0.0, |old| old.value);
            // A counter that went back began again at zero.
            let growth = if sample.value < before {
                sample.value
            } else {
                sample.value - before
            };
            (sample.clone(), growth)
        });
        growth.collect()
    };
    let requests = grown("outrigger_requests_total");
    let total: f64 = requests.iter().map(|(_, growth)| growth).sum();
    let failed = requests.iter().filter(|(sample, _)| is_failure(sample));
    let grpc = grown("outrigger_grpc_calls_total");
    let grpc_failed = grpc
        .iter()
        .filter(|(sample, _)| is_grpc_failure(sample.label("code")));
    sums.pods += 1;
    sums.rate += total / seconds;
    sums.requests += total;
    sums.failures += failed
        .chain(grpc_failed)
        .map(|(_, growth)| growth)
        .sum::<f64>();
    let in_flight = new.named("outrigger_requests_in_flight").filter(counts);
    sums.in_flight += in_flight.map(|sample| sample.value).sum::<f64>();
    // Cumulative within each series, by label `le`: made plain for the sum.
    let mut cumulative: BTreeMap<Bound, f64> = BTreeMap::new();
    for (sample, growth) in grown("outrigger_request_duration_seconds_bucket") {
        if let Some(bound) = bound(sample.label("le")) {
            *cumulative.entry(bound).or_default() += growth;
        }
    }
    let mut below = 0.0;
    for (bound, count) in cumulative {
        *sums.buckets.entry(bound).or_default() += (count - below).max(0.0);
        below = count;
    }
}

/// No answer, or a server's error. One whose client left is no failure of the workload, and what
/// gRPC failed says its own status.
fn is_failure(sample: &Sample) -> bool {
    let status = sample.label("status");
    let left = sample.label("reason") == "client-cancelled";
    !left && (status == "5xx" || status == "none")
}

/// What breakers count as failures, and what is surely one.
fn is_grpc_failure(code: &str) -> bool {
    matches!(
        code,
        "unknown"
            | "deadline-exceeded"
            | "internal"
            | "unavailable"
            | "data-loss"
            | "resource-exhausted"
    )
}

fn bound(text: &str) -> Option<Bound> {
    match text {
        "+Inf" => Some(Bound(f64::INFINITY)),
        number => number.parse().ok().map(Bound),
    }
}

/// Estimated as evenly spread within its bucket.
fn quantile(buckets: &BTreeMap<Bound, f64>, q: f64) -> Option<f64> {
    let total: f64 = buckets.values().sum();
    if total <= 0.0 {
        return None;
    }
    let rank = q * total;
    let (mut below, mut lower) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count > 0.0 && below + count >= rank {
            if bound.0.is_infinite() {
                return Some(f64::INFINITY);
            }
            return Some(lower + (bound.0 - lower) * ((rank - below) / count).clamp(0.0, 1.0));
        }
        below += count;
        lower = bound.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn scraped(pod: &str, at: Instant, page: &str) -> Scraped {
        Scraped {
            pod: pod.into(),
            workload: "shop/deploy/cart".into(),
            at,
            page: Page::parse(page),
        }
    }

    /// A page after so many good and bad requests of 1 to 2.5 ms, and slow ones of 50 to 100.
    fn page(good: u32, bad: u32, slow: u32) -> String {
        let labels = r#"direction="inbound",service="local",route="default",protocol="http1""#;
        let (fast, all) = (good + bad, good + bad + slow);
        format!(
            "outrigger_requests_total{{{labels},status=\"2xx\",reason=\"\"}} {}
outrigger_requests_total{{{labels},status=\"5xx\",reason=\"\"}} {bad}
outrigger_requests_total{{{labels},status=\"none\",reason=\"client-cancelled\"}} 0
outrigger_requests_in_flight{{{labels}}} 3
outrigger_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} 0
outrigger_request_duration_seconds_bucket{{{labels},le=\"0.0025\"}} {fast}
outrigger_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} {fast}
outrigger_request_duration_seconds_bucket{{{labels},le=\"0.1\"}} {all}
outrigger_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {all}
",
            good + slow
        )
    }

    #[test]
    fn sums_what_the_pods_of_a_workload_did() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let before = [
            scraped("a", start, &page(100, 0, 0)),
            scraped("b", start, &page(0, 0, 0)),
        ];
        let after = [
            scraped("a", later, &page(180, 10, 0)),
            scraped("b", later, &page(90, 0, 20)),
            scraped("new", later, &page(1_000, 0, 0)),
        ];
        let rows = between(&before, &after, Direction::Inbound);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.pods, row.service.as_deref()), (2, None));
        assert_eq!(row.rate, 100.0);
        assert_eq!(row.success, Some(0.95));
        assert_eq!(row.in_flight, 6.0);
        let p50 = row.p50.unwrap();
        assert!((0.001..0.0025).contains(&p50), "{p50}");
        let p95 = row.p95.unwrap();
        assert!((0.05..0.1).contains(&p95), "{p95}");
    }

    #[test]
    fn a_restarted_proxy_counts_from_zero() {
        let start = Instant::now();
        let before = [scraped("a", start, &page(1_000, 0, 0))];
        let after = [scraped("a", start + Duration::from_secs(1), &page(7, 0, 0))];
        assert_eq!(between(&before, &after, Direction::Inbound)[0].rate, 7.0);
    }

    #[test]
    fn nothing_is_no_rate_and_no_latency() {
        let start = Instant::now();
        let before = [scraped("a", start, &page(5, 0, 0))];
        let after = [scraped("a", start + Duration::from_secs(1), &page(5, 0, 0))];
        let rows = between(&before, &after, Direction::Inbound);
        assert_eq!(
            (rows[0].rate, rows[0].success, rows[0].p99),
            (0.0, None, None)
        );
    }

    #[test]
    fn what_goes_out_is_told_by_service() {
        let start = Instant::now();
        let calls = |cart: u32, grpc_bad: u32| {
            let labels = |service: &str, protocol: &str| {
                format!(
                    "direction=\"outbound\",service=\"{service}\",route=\"\",protocol=\"{protocol}\""
                )
            };
            let (cart_is, pay) = (
                labels("shop/cart:80", "http1"),
                labels("shop/pay:80", "grpc"),
            );
            format!(
                "outrigger_requests_in_flight{{{cart_is}}} 0
outrigger_requests_in_flight{{{pay}}} 0
outrigger_requests_total{{{cart_is},status=\"2xx\",reason=\"\"}} {cart}
outrigger_requests_total{{{pay},status=\"2xx\",reason=\"\"}} {grpc_bad}
outrigger_grpc_calls_total{{{pay},code=\"unavailable\"}} {grpc_bad}
"
            )
        };
        let before = [scraped("a", start, &calls(0, 0))];
        let after = [scraped("a", start + Duration::from_secs(1), &calls(4, 2))];
        let rows = between(&before, &after, Direction::Outbound);
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.service.as_deref(), row.rate, row.success))
            .collect();
        let expected = [
            (Some("shop/cart:80"), 4.0, Some(1.0)),
            (Some("shop/pay:80"), 2.0, Some(0.0)),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn quantiles_above_the_last_bucket_are_infinite() {
        let buckets = [(Bound(30.0), 1.0), (Bound(f64::INFINITY), 9.0)].into();
        assert_eq!(quantile(&buckets, 0.99), Some(f64::INFINITY));
    }
}
