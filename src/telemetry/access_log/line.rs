//! One record as one line of JSON.

use std::{fmt::Write, net::SocketAddr, time::SystemTime};

use serde::Serialize;

use super::Record;
use crate::identity::SpiffeId;

/// The line's fields, in their order.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    client: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a SpiffeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a SpiffeId>,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    path: String,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_duration_ms: Option<f64>,
}

/// What a client may put into a field, in characters.
const MAX_METHOD: usize = 32;
const MAX_HOST: usize = 255;
const MAX_PATH: usize = 512;

pub(super) fn append(record: &Record, out: &mut Vec<u8>) {
    let millis = |duration: std::time::Duration| duration.as_micros() as f64 / 1e3;
    let line = Line {
        time: rfc3339(record.start),
        direction: record.direction.as_str(),
        trace_id: record.trace_id.map(|id| id.to_string()),
        client: record.client,
        caller: record.caller.as_ref(),
        service: record.service.as_deref(),
        route: record.route.as_deref(),
        endpoint: record.endpoint,
        upstream: record.upstream.as_ref(),
        method: printable(record.method.as_str(), MAX_METHOD),
        host: record.uri.host().map(|host| printable(host, MAX_HOST)),
        path: printable(record.uri.path(), MAX_PATH),
        version: version(record.version),
        status: record.status.map(|status| status.as_u16()),
        grpc_status: record.grpc_status,
        reason: record.reason.map(|reason| reason.as_str()),
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        duration_ms: millis(record.duration),
        upstream_duration_ms: record.upstream_duration.map(millis),
    };
    serde_json::to_writer(&mut *out, &line).expect("every field is a text or a number");
    out.push(b'\n');
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// Printable ASCII, everything else percent-encoded, cut with `...` at `max` characters.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for byte in text.bytes() {
        if out.len() >= max {
            out.truncate(max);
            out.push_str("...");
            break;
        }
        match byte {
            0x20..=0x7e => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a String does not fail"),
        }
    }
    out
}

/// UTC with milliseconds, as RFC 3339 writes it. Times before 1970 are written as 1970.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    let ms = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March, so that the
/// leap day comes last and a month's first day is a linear function of its number.
fn civil(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01; 400 years are 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leaps) / 365;
    let first_of_year = 365 * year_of_era + year_of_era / 4 - year_of_era / 100;
    let day_of_year = day_of_era - first_of_year;
    // Five months from March on have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}
