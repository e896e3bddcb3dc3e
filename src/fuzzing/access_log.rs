use std::time::{Duration, SystemTime};

use arbitrary::{Result, Unstructured};
use http::{Method, StatusCode, Uri, Version};

use crate::telemetry::{Direction, access_log::Record};

/// One line a record, whatever a client sends: printable ASCII, valid JSON, bounded in length, and
/// without the query.
pub fn access_log(data: &[u8]) {
    let Ok(Some(record)) = make(&mut Unstructured::new(data)) else {
        return;
    };
    let mut line = Vec::new();
    record.write_line(&mut line);
    let (end, text) = line.split_last().expect("a line");
    assert_eq!(*end, b'\n');
    assert!(
        text.iter().all(|byte| (0x20..0x7f).contains(byte)),
        "{:?}",
        text.escape_ascii()
    );
    assert!(text.len() < 4_096, "{}", text.len());
    let read: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    let path = read["path"].as_str().expect("a path");
    assert!(path.len() <= 512 + "...".len() && !path.contains('?'));
}

fn make(u: &mut Unstructured<'_>) -> Result<Option<Record>> {
    let method = Method::from_bytes(u.arbitrary()?);
    let start: u32 = u.arbitrary()?;
    let client: ([u8; 4], u16) = u.arbitrary()?;
    let route: Option<bool> = u.arbitrary()?;
    let bytes: (u64, u64) = u.arbitrary()?;
    let status = StatusCode::from_u16(u.int_in_range(100..=999)?).ok();
    let (Ok(method), Ok(uri)) = (method, Uri::try_from(u.bytes(u.len())?)) else {
        return Ok(None);
    };
    Ok(Some(Record {
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(start.into()),
        direction: Direction::Inbound,
        trace_id: None,
        client: client.into(),
        caller: None,
        service: None,
        route: route.map(|_| "shop/route".into()),
        endpoint: None,
        upstream: None,
        method,
        uri,
        version: Version::HTTP_11,
        status,
        grpc_status: None,
        reason: None,
        request_bytes: bytes.0,
        response_bytes: bytes.1,
        duration: Duration::from_millis(start.into()),
        upstream_duration: None,
    }))
}
