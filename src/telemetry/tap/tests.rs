use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body_util::BodyExt;

use super::*;
use crate::telemetry::{Direction, Reason};

/// A request from shop/web to shop/cart that no endpoint could take.
pub fn record() -> Record {
    Record {
        start: SystemTime::UNIX_EPOCH,
        direction: Direction::Outbound,
        trace_id: None,
        client: "198.18.0.1:4711".parse().unwrap(),
        caller: Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
        service: Some("shop/cart:80".into()),
        route: Some("shop/cart".into()),
        endpoint: Some("198.18.0.2:8080".parse().unwrap()),
        upstream: None,
        method: Method::GET,
        uri: "http://cart/cart/1?token=secret".parse().unwrap(),
        version: Version::HTTP_11,
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        grpc_status: None,
        reason: Some(Reason::BreakerOpen),
        request_bytes: 0,
        response_bytes: 10,
        duration: Duration::from_millis(2),
        upstream_duration: None,
    }
}

async fn next(body: &mut TapBody) -> Option<String> {
    let frame = body.frame().await?.expect("a tap does not fail");
    let bytes: Bytes = frame.into_data().expect("a tap has no trailers");
    Some(String::from_utf8(bytes.into()).unwrap())
}

#[tokio::test]
async fn shows_what_the_filter_lets_through_and_no_query() {
    let taps = Taps::default();
    assert!(!taps.is_on());
    taps.offer(&record());
    let filter = Query::parse("path=/cart").unwrap().filter;
    let mut body = TapBody::new(taps.open(filter).unwrap(), u64::MAX, MAX_TIME);
    assert!(taps.is_on());
    let mut other = record();
    other.uri = "http://cart/orders".parse().unwrap();
    taps.offer(&other);
    taps.offer(&record());
    let line = next(&mut body).await.unwrap();
    let shown: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(shown["path"], "/cart/1");
    assert_eq!(shown["reason"], "breaker-open");
    assert!(!line.contains("secret"), "{line}");
    drop(body);
    assert!(!taps.is_on());
}

#[tokio::test]
async fn a_slow_reader_loses_exchanges_and_is_told_how_many() {
    let taps = Taps::default();
    let mut body = TapBody::new(taps.open(Filter::default()).unwrap(), u64::MAX, MAX_TIME);
    for _ in 0..QUEUE + 7 {
        taps.offer(&record());
    }
    assert_eq!(next(&mut body).await.unwrap(), "{\"lost\":7}\n");
    let mut lines = 0;
    while lines < QUEUE {
        lines += next(&mut body).await.unwrap().lines().count();
    }
    assert_eq!(lines, QUEUE);
    // It is up to date again.
    taps.offer(&record());
    assert!(next(&mut body).await.unwrap().contains("/cart/1"));
}

#[tokio::test]
async fn ends_after_its_number_or_its_time() {
    let taps = Taps::default();
    let mut some = TapBody::new(taps.open(Filter::default()).unwrap(), 2, MAX_TIME);
    (0..3).for_each(|_| taps.offer(&record()));
    assert_eq!(next(&mut some).await.unwrap().lines().count(), 2);
    assert!(next(&mut some).await.unwrap().contains("as many as"));
    assert!(
        !taps.is_on(),
        "an ended tap is closed, read to the end or not"
    );
    assert_eq!(next(&mut some).await, None);

    let mut short = TapBody::new(taps.open(Filter::default()).unwrap(), 2, Duration::ZERO);
    assert!(next(&mut short).await.unwrap().contains("time is over"));
    assert_eq!(next(&mut short).await, None);
}

#[test]
fn there_is_a_bounded_number_of_taps() {
    let taps = Taps::default();
    let open: Vec<_> = std::iter::from_fn(|| taps.open(Filter::default()))
        .take(MAX_TAPS + 1)
        .collect();
    assert_eq!(open.len(), MAX_TAPS);
    drop(open);
    assert!(taps.open(Filter::default()).is_some());
}
