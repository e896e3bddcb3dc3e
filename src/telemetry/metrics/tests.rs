use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::resilience::{RejectCause, State, Transition, TripCause};
use crate::telemetry::{Direction, Reason};

fn labels(route: &str) -> RequestLabels {
    RequestLabels {
        direction: Direction::Outbound,
        service: "shop/cart:80".into(),
        route: route.into(),
        protocol: HttpProtocol::Http2,
    }
}

fn has(page: &str, line: &str) {
    assert!(page.lines().any(|l| l == line), "{line}\nis not in\n{page}");
}

const CART: &str =
    r#"direction="outbound",service="shop/cart:80",route="shop/cart",protocol="http2""#;

#[test]
fn counts_a_request_from_start_to_end() {
    let metrics = Metrics::new();
    let series = metrics.request_series(labels("shop/cart"));
    let in_flight = series.started();
    has(
        &metrics.encode(),
        &format!("outrigger_requests_in_flight{{{CART}}} 1"),
    );

    series.finished(Some(StatusCode::OK), None, Duration::from_millis(2));
    let timeout = Some(Reason::RequestTimeout);
    let status = Some(StatusCode::GATEWAY_TIMEOUT);
    series.finished(status, timeout, Duration::from_secs(60));
    series.finished(None, Some(Reason::ClientCancelled), Duration::ZERO);
    series.grpc_finished(14);
    series.grpc_finished(4_000_000_000);
    series.fell_back(FallbackKind::Stale);
    drop(in_flight);

    let page = metrics.encode();
    for (class, reason) in [
        ("2xx", ""),
        ("5xx", "request-timeout"),
        ("none", "client-cancelled"),
    ] {
        let ends = format!(r#"status="{class}",reason="{reason}""#);
        has(
            &page,
            &format!("outrigger_requests_total{{{CART},{ends}}} 1"),
        );
    }
    has(
        &page,
        &format!(r#"outrigger_grpc_calls_total{{{CART},code="unavailable"}} 1"#),
    );
    has(
        &page,
        &format!(r#"outrigger_grpc_calls_total{{{CART},code="invalid"}} 1"#),
    );
    has(&page, &format!("outrigger_requests_in_flight{{{CART}}} 0"));
    has(
        &page,
        &format!(r#"outrigger_fallbacks_total{{{CART},kind="stale"}} 1"#),
    );
    has(
        &page,
        &format!("outrigger_request_duration_seconds_sum{{{CART}}} 60.002"),
    );
    has(
        &page,
        &format!("outrigger_request_duration_seconds_count{{{CART}}} 3"),
    );
}

#[test]
fn a_duration_at_a_bound_belongs_below_it() {
    let metrics = Metrics::new();
    let series = metrics.request_series(labels("shop/cart"));
    series.finished(None, None, Duration::from_millis(1));
    series.finished(None, None, Duration::from_nanos(1_000_001));
    let page = metrics.encode();
    for (bound, count) in [("0.0005", 0), ("0.001", 1), ("0.0025", 2), ("+Inf", 2)] {
        let name = "outrigger_request_duration_seconds_bucket";
        // The encoder puts the bound before the other labels.
        has(&page, &format!(r#"{name}{{le="{bound}",{CART}}} {count}"#));
    }
}

#[test]
fn breakers_are_counted_by_state_and_leave_when_dropped() {
    let metrics = Metrics::new();
    let series = metrics.breaker_series("shop/cart:80".into());
    let first = series.track(BreakerScope::Endpoint);
    let second = series.track(BreakerScope::Endpoint);
    first.moved(&Transition {
        from: State::Closed,
        to: State::Open,
        cause: Some(TripCause::FailureRate),
    });
    let state = |state: &str, count: u64| {
        let place = r#"service="shop/cart:80",scope="endpoint""#;
        format!(r#"outrigger_breakers{{{place},state="{state}"}} {count}"#)
    };
    let page = metrics.encode();
    has(&page, &state("open", 1));
    has(&page, &state("closed", 1));
    has(
        &page,
        r#"outrigger_breaker_trips_total{service="shop/cart:80",scope="endpoint",cause="failure-rate"} 1"#,
    );
    drop((first, second));
    let page = metrics.encode();
    has(&page, &state("open", 0));
    has(&page, &state("closed", 0));
}

#[test]
fn a_connection_is_open_until_dropped_as_what_it_carries() {
    let metrics = Metrics::new();
    let open = |protocol: &str, count: u64| {
        let row = format!(r#"direction="inbound",protocol="{protocol}""#);
        has(
            &metrics.encode(),
            &format!("outrigger_connections_open{{{row}}} {count}"),
        );
    };
    let mut connection = metrics.connections().opened(Direction::Inbound);
    open("unknown", 1);
    connection.speaks(ConnectionProtocol::Http2);
    open("unknown", 0);
    open("http2", 1);
    drop(connection);
    open("http2", 0);
    has(
        &metrics.encode(),
        r#"outrigger_connections_total{direction="inbound"} 1"#,
    );
}

#[test]
fn a_million_routes_do_not_grow_the_page() {
    let metrics = Metrics::new();
    let mut held = Vec::new();
    for n in 0..MAX_SERIES {
        held.push(metrics.request_series(labels(&format!("shop/{n}"))));
    }
    for n in 0..1_000_000 {
        metrics
            .request_series(labels(&format!("shop/new-{n}")))
            .retried();
    }
    let page = metrics.encode();
    let lines = page
        .lines()
        .filter(|l| l.starts_with("outrigger_retries_total{"));
    assert_eq!(lines.count(), MAX_SERIES + 1);
    let other = CART
        .replace("shop/cart:80", "other")
        .replace("shop/cart", "other");
    has(
        &page,
        &format!("outrigger_retries_total{{{other}}} 1000000"),
    );
}

#[test]
fn is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Metrics>();
    shared::<RequestSeries>();
}

#[test]
fn discriminants_index_what_they_list() {
    assert!(
        State::ALL
            .iter()
            .enumerate()
            .all(|(n, state)| *state as usize == n)
    );
    assert!(
        TripCause::ALL
            .iter()
            .enumerate()
            .all(|(n, cause)| *cause as usize == n)
    );
    assert!(
        RejectCause::ALL
            .iter()
            .enumerate()
            .all(|(n, cause)| *cause as usize == n)
    );
}

/// One of everything, so that every metric shows its labels.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    let series = metrics.request_series(labels("shop/cart"));
    series.finished(Some(StatusCode::OK), None, Duration::ZERO);
    series.grpc_finished(0);
    series.audited();
    let breakers = metrics.breaker_series("shop/cart:80".into());
    breakers.track(BreakerScope::Service).moved(&Transition {
        from: State::Closed,
        to: State::Open,
        cause: Some(TripCause::SlowCalls),
    });
    metrics.bulkhead_series(BulkheadLabels {
        scope: BulkheadScope::Route,
        name: "shop/cart".into(),
    });
    let tcp = metrics.tcp_series(TcpLabels {
        direction: Direction::Inbound,
        service: "shop/cart:80".into(),
    });
    tcp.failed(Reason::ConnectFailed);
    tcp.audited.inc();
    metrics
        .connections()
        .refused(Direction::Inbound, Reason::Overloaded);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics.watch_runtime("worker-0", runtime.handle());
    metrics
}

/// The rows that the documentation must have: name, type, labels and meaning of each metric.
fn rows(page: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let lines: Vec<_> = page.lines().collect();
    for window in lines.windows(2) {
        let (Some(help), Some(kind)) = (
            window[0].strip_prefix("# HELP "),
            window[1].strip_prefix("# TYPE "),
        ) else {
            continue;
        };
        let (name, meaning) = help.split_once(' ').unwrap();
        let (_, kind) = kind.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let sample_suffix = if kind == "histogram" {
            "_count"
        } else {
            suffix
        };
        let sample = lines
            .iter()
            .find(|line| line.starts_with(&format!("{name}{sample_suffix}{{")));
        let labels: Vec<_> = sample
            .and_then(|line| line.split_once('{')?.1.rsplit_once('}'))
            .map(|(labels, _)| labels.split(',').filter_map(|label| label.split_once('=')))
            .into_iter()
            .flatten()
            .map(|(label, _)| format!("`{label}`"))
            .collect();
        rows.push(format!(
            "| `{name}{suffix}` | {kind} | {} | {meaning} |",
            labels.join(" ")
        ));
    }
    rows.sort();
    rows
}

#[test]
fn the_documentation_lists_every_metric() {
    let documented = include_str!("../../../docs/metrics.md");
    let (proxy, controller) = documented.split_once("## Controller").unwrap();
    for (documented, page) in [
        (proxy, everything().encode()),
        (controller, ControlPlane::default().encode()),
    ] {
        let documented: Vec<_> = documented
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let rows = rows(&page);
        assert_eq!(
            documented,
            rows,
            "the table in docs/metrics.md should be:\n{}",
            rows.join("\n")
        );
    }
}
