use std::time::Duration;

use http::StatusCode;

use super::*;
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
        ("5xx", "request_timeout"),
        ("none", "client_cancelled"),
    ] {
        let ends = format!(r#"status="{class}",reason="{reason}""#);
        has(
            &page,
            &format!("outrigger_requests_total{{{CART},{ends}}} 1"),
        );
    }
    let call = CART.replace(",protocol=\"http2\"", "");
    has(
        &page,
        &format!(r#"outrigger_grpc_calls_total{{{call},code="unavailable"}} 1"#),
    );
    has(
        &page,
        &format!(r#"outrigger_grpc_calls_total{{{call},code="invalid"}} 1"#),
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
    let mut first = series.track(BreakerScope::Endpoint);
    let second = series.track(BreakerScope::Endpoint);
    first.set(BreakerState::Open);
    series.tripped(BreakerScope::Endpoint, TripCause::FailureRate);
    let state = |state: &str, count: u64| {
        let place = r#"service="shop/cart:80",scope="endpoint""#;
        format!(r#"outrigger_breakers{{{place},state="{state}"}} {count}"#)
    };
    let page = metrics.encode();
    has(&page, &state("open", 1));
    has(&page, &state("closed", 1));
    has(
        &page,
        r#"outrigger_breaker_trips_total{service="shop/cart:80",scope="endpoint",cause="failure_rate"} 1"#,
    );
    drop((first, second));
    let page = metrics.encode();
    has(&page, &state("open", 0));
    has(&page, &state("closed", 0));
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
