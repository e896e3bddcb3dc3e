//! The B3 headers: `b3` in one, or the `x-b3-…` several.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    B3_FLAGS, B3_PARENT_SPAN_ID, B3_SAMPLED, B3_SPAN_ID, B3_TRACE_ID, SpanId, TraceContext,
    TraceId, hex, write_hex,
};

/// What B3 headers say; either part may be missing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct B3 {
    pub ids: Option<(TraceId, SpanId)>,
    pub sampled: Option<bool>,
}

/// The single header where it is valid, else the several.
pub(super) fn parse(headers: &HeaderMap) -> B3 {
    let single = headers.get(&super::B3).and_then(|v| single(v.as_bytes()));
    single.unwrap_or_else(|| multi(headers))
}

/// `{trace}-{span}[-{decision}[-{parent}]]`, or the decision alone.
fn single(value: &[u8]) -> Option<B3> {
    let mut parts = value.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return Some(B3 {
            ids: None,
            sampled: Some(decision(first)?),
        });
    };
    let sampled = parts.next().map(decision);
    let parent = parts.next().map(span_id);
    let complete = parts.next().is_none() && sampled != Some(None) && parent != Some(None);
    complete.then_some(B3 {
        ids: Some((trace_id(first)?, span_id(span)?)),
        sampled: sampled.flatten(),
    })
}

fn multi(headers: &HeaderMap) -> B3 {
    let get = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let ids = || {
        let trace = trace_id(get(&B3_TRACE_ID)?)?;
        Some((trace, span_id(get(&B3_SPAN_ID)?)?))
    };
    let debug = get(&B3_FLAGS) == Some(b"1");
    B3 {
        ids: ids(),
        sampled: if debug {
            Some(true)
        } else {
            get(&B3_SAMPLED).and_then(decision)
        },
    }
}

/// `d` is a decision to record with a wish for debugging, `true` and `false` an old spelling.
fn decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

fn trace_id(digits: &[u8]) -> Option<TraceId> {
    let known_length = matches!(digits.len(), 16 | 32);
    known_length.then(|| TraceId::new(hex(digits, true)?))?
}

fn span_id(digits: &[u8]) -> Option<SpanId> {
    (digits.len() == 16).then(|| SpanId::new(hex(digits, true)? as u64))?
}

/// Rewrites the forms that the request came with.
pub(super) fn write(context: &TraceContext, span: SpanId, headers: &mut HeaderMap) {
    let mut ids = [b'-'; 32 + 1 + 16 + 2];
    write_hex(context.trace_id.get(), &mut ids[..32]);
    write_hex(span.get().into(), &mut ids[33..49]);
    ids[50] = if context.sampled { b'1' } else { b'0' };
    let value = |text: &[u8]| HeaderValue::from_bytes(text).expect("hexadecimal digits and dashes");
    if context.b3.single {
        headers.insert(&super::B3, value(&ids));
    }
    if context.b3.multi {
        headers.insert(&B3_TRACE_ID, value(&ids[..32]));
        headers.insert(&B3_SPAN_ID, value(&ids[33..49]));
        headers.insert(&B3_SAMPLED, value(&ids[50..]));
        headers.remove(&B3_PARENT_SPAN_ID);
        headers.remove(&B3_FLAGS);
    }
}
