//! The `traceparent` and `tracestate` headers, by the W3C recommendation.

use http::{HeaderMap, HeaderValue};

use super::{SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId, hex, write_hex};

/// What a valid `traceparent` says.
pub(super) struct TraceParent {
    pub trace_id: TraceId,
    pub parent: SpanId,
    pub sampled: bool,
    pub random: bool,
}

/// `version "-" trace-id "-" parent-id "-" flags`.
const LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

/// None where the header is absent, invalid, or there more than once.
pub(super) fn parse(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_value(value.as_bytes())
}

fn parse_value(value: &[u8]) -> Option<TraceParent> {
    let head: &[u8; LEN] = value.first_chunk()?;
    let version = hex(&head[0..2], false)?;
    let rest_is_valid = match version {
        0 => value.len() == LEN,
        0xff => false,
        // A later version may add fields; those known today stay where they are.
        _ => value.get(LEN).is_none_or(|byte| *byte == b'-'),
    };
    let dashes = [2, 35, 52].iter().all(|place| head[*place] == b'-');
    if !rest_is_valid || !dashes {
        return None;
    }
    let flags = hex(&head[53..55], false)? as u8;
    Some(TraceParent {
        trace_id: TraceId::new(hex(&head[3..35], false)?)?,
        parent: SpanId::new(hex(&head[36..52], false)? as u64)?,
        sampled: flags & SAMPLED != 0,
        random: flags & RANDOM != 0,
    })
}

/// Always writes version 00, the highest one known here.
pub(super) fn write(context: &TraceContext, span: SpanId) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let flags = u8::from(context.sampled) * SAMPLED + u8::from(context.random) * RANDOM;
    write_hex(context.trace_id.get(), &mut text[3..35]);
    write_hex(span.get().into(), &mut text[36..52]);
    write_hex(flags.into(), &mut text[53..55]);
    HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes")
}

/// The specification's limit on list members.
const MAX_MEMBERS: usize = 32;
/// Vendors must pass on at least 512 characters; what a client may make us carry ends here.
const MAX_STATE_BYTES: usize = 8 * 512;

/// Whether the request's `tracestate` may go on. One that breaks the grammar is dropped whole,
/// as the specification asks.
pub(super) fn state_is_valid(headers: &HeaderMap) -> bool {
    let mut keys = [""; MAX_MEMBERS];
    let mut count = 0;
    let mut bytes = 0;
    for value in headers.get_all(&TRACESTATE) {
        let Ok(text) = value.to_str() else {
            return false;
        };
        bytes += text.len();
        if bytes > MAX_STATE_BYTES {
            return false;
        }
        let members = text
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']));
        for member in members.filter(|member| !member.is_empty()) {
            let Some((key, value)) = member.split_once('=') else {
                return false;
            };
            let fits = count < MAX_MEMBERS && !keys[..count].contains(&key);
            if !fits || !is_key(key) || !is_value(value) {
                return false;
            }
            keys[count] = key;
            count += 1;
        }
    }
    true
}

/// `key`, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
    let part = |text: &str, max: usize, digit_first: bool| {
        let first = |b: u8| b.is_ascii_lowercase() || digit_first && b.is_ascii_digit();
        text.len() <= max && text.bytes().next().is_some_and(first) && text.bytes().all(plain)
    };
    match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
        None => part(key, 256, false),
    }
}

/// Up to 256 printable ASCII characters without `,` and `=`; the blanks around it are gone.
fn is_value(value: &str) -> bool {
    let allowed = |b: u8| (0x20..=0x7e).contains(&b) && b != b',' && b != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(allowed)
}
