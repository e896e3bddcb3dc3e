use std::{sync::atomic::Ordering, time::UNIX_EPOCH};

use super::{
    line::*,
    lines::{BATCH, QUEUE},
    *,
};

fn record() -> Record {
    Record {
        start: UNIX_EPOCH + Duration::from_millis(951_782_400_007),
        direction: Direction::Inbound,
        trace_id: TraceId::new(0xabc),
        client: "198.18.0.1:4000".parse().unwrap(),
        caller: Some("spiffe://mesh.local/ns/shop/sa/web".parse().unwrap()),
        service: Some("shop/cart:80".into()),
        route: Some("shop/cart".into()),
        endpoint: None,
        upstream: None,
        method: Method::GET,
        uri: "/items?token=secret".parse().unwrap(),
        version: Version::HTTP_2,
        status: Some(StatusCode::OK),
        grpc_status: None,
        reason: None,
        request_bytes: 1,
        response_bytes: 2,
        duration: Duration::from_micros(1_500),
        upstream_duration: None,
    }
}

fn written(records: impl IntoIterator<Item = Record>, ratio: f64) -> Vec<u8> {
    let (log, writer) = AccessLog::new(ratio, Arc::default());
    records.into_iter().for_each(|record| log.log(record));
    drop(log);
    let mut out = Vec::new();
    writer.write_to(&mut out);
    out
}

#[test]
fn writes_an_object_a_line() {
    let failed = Record {
        status: None,
        reason: Some(Reason::ClientCancelled),
        ..record()
    };
    let text = String::from_utf8(written([record(), failed], 1.0)).unwrap();
    let expected = concat!(
        r#"{"time":"2000-02-29T00:00:00.007Z","direction":"inbound","#,
        r#""trace_id":"00000000000000000000000000000abc","client":"198.18.0.1:4000","#,
        r#""caller":"spiffe://mesh.local/ns/shop/sa/web","service":"shop/cart:80","#,
        r#""route":"shop/cart","method":"GET","path":"/items","version":"2","status":200,"#,
        r#""request_bytes":1,"response_bytes":2,"duration_ms":1.5}"#,
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], expected);
    let second: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(second["reason"], "client-cancelled");
    assert_eq!((lines.len(), second.get("status")), (2, None));
}

#[test]
fn successes_are_sampled_and_failures_never() {
    let failed = Record {
        status: Some(StatusCode::BAD_GATEWAY),
        ..record()
    };
    let text = String::from_utf8(written([record(), failed, record()], 0.0)).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains(r#""status":502"#));
}

#[test]
fn client_input_is_escaped_and_cut() {
    assert_eq!(
        printable("/a\u{1b}[2J\r\n\u{7f}é", 99),
        "/a%1B[2J%0D%0A%7F%C3%A9"
    );
    assert_eq!(printable(&"x".repeat(600), 512).len(), 515);
    assert_eq!(printable("abc", 3), "abc");
    let long = Record {
        uri: format!("http://{}/{}", "h".repeat(300), "p".repeat(9_000))
            .parse()
            .unwrap(),
        ..record()
    };
    assert!(written([long], 1.0).len() < 1_500);
}

#[test]
fn a_full_queue_drops_and_counts_without_waiting() {
    let dropped = Arc::new(AtomicU64::new(0));
    let (log, _writer) = AccessLog::new(1.0, dropped.clone());
    for _ in 0..QUEUE / Box::new(record()).bytes() + 3 {
        log.log(record());
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
}

#[test]
fn an_output_that_fails_costs_lines_and_no_more() {
    let dropped = Arc::new(AtomicU64::new(0));
    let (log, writer) = AccessLog::new(1.0, dropped.clone());
    for _ in 0..BATCH + 1 {
        log.log(record());
    }
    drop(log);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    writer.write_to(full);
    assert_eq!(dropped.load(Ordering::Relaxed), BATCH as u64 + 1);
}

#[test]
fn appends_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    for _ in 0..2 {
        let (log, writer) = AccessLog::new(1.0, Arc::default());
        log.log(record());
        drop(log);
        writer.run(&Output::File(path.clone())).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    let (_, writer) = AccessLog::new(1.0, Arc::default());
    let missing = Output::File(dir.path().join("no/such/dir.log"));
    assert!(
        writer
            .run(&missing)
            .unwrap_err()
            .to_string()
            .contains("no/such/dir.log")
    );
}

#[test]
fn dates_hold_around_leap_days_and_centuries() {
    let date = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(date(951_868_799), "2000-02-29T23:59:59.000Z");
    assert_eq!(date(951_868_800), "2000-03-01T00:00:00.000Z");
    assert_eq!(date(1_735_689_599), "2024-12-31T23:59:59.000Z");
    assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00.000Z");
}
