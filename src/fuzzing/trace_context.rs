use std::{collections::BTreeSet, sync::LazyLock};

use http::{HeaderMap, HeaderValue};
use regex::bytes::Regex;

use crate::telemetry::{Sampler, TraceContext};

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-parentspanid",
    "x-b3-flags",
];

static PARENT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u)\A([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\z";
    Regex::new(&format!("(?s){pattern}")).expect("a fixed pattern")
});
static MEMBER: LazyLock<Regex> = LazyLock::new(|| {
    let key = "[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}";
    let value = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]";
    Regex::new(&format!("(?-u)\\A({key})=({value})\\z")).expect("a fixed pattern")
});

/// Headers of a trace, a line each: the first byte says which. What a `traceparent` says is what
/// the recommendation's grammar finds in it; a `tracestate` goes on whole or not at all; and what
/// is sent is short, valid, and read back as the same trace.
pub fn trace_context(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(40) {
        let Some((which, value)) = line.split_first() else {
            continue;
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(NAMES[usize::from(*which) % NAMES.len()], value);
        }
    }
    let Some(context) = TraceContext::receive(&headers, Sampler::ratio(0.5)) else {
        unreachable!("a sampler that may sample begins a trace");
    };
    let reference = parent(&headers);
    if let Some((trace, span, flags)) = &reference {
        assert_eq!(context.trace_id.to_string(), *trace);
        assert_eq!(
            context.parent.map(|span| span.to_string()).as_ref(),
            Some(span)
        );
        assert_eq!(context.sampled, flags & 1 != 0);
    }
    let mut sent = headers.clone();
    context.send(None, &mut sent);
    check_sent(&context, &sent);
    let state = |headers: &HeaderMap| -> Vec<HeaderValue> {
        headers.get_all("tracestate").iter().cloned().collect()
    };
    match reference.is_some() && state_is_valid(&headers) {
        true => assert_eq!(state(&sent), state(&headers)),
        false => assert_eq!(state(&sent), [""; 0]),
    }
}

fn check_sent(context: &TraceContext, sent: &HeaderMap) {
    let (trace, _, flags) = parent(sent).expect("what is sent is valid");
    assert_eq!(trace, context.trace_id.to_string());
    assert_eq!(flags & 1 != 0, context.sampled);
    let again = TraceContext::receive(sent, Sampler::NEVER).expect("it carries a trace");
    assert_eq!(
        (again.trace_id, again.sampled),
        (context.trace_id, context.sampled)
    );
    let mut twice = sent.clone();
    again.send(None, &mut twice);
    assert_eq!(twice, *sent, "a proxy that records nothing changes nothing");
    if let Some(b3) = sent.get("b3") {
        let text = b3.to_str().expect("ASCII");
        assert!(text.starts_with(&trace) && text.len() == 51, "{text}");
    }
}

/// Trace, span and flags.
fn parent(headers: &HeaderMap) -> Option<(String, String, u8)> {
    let values: Vec<_> = headers.get_all("traceparent").iter().collect();
    let [value] = values[..] else { return None };
    let found = PARENT.captures(value.as_bytes())?;
    let text = |n: usize| String::from_utf8_lossy(&found[n]).into_owned();
    let (version, trace, span) = (text(1), text(2), text(3));
    let more = found.get(5).is_some();
    let zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    let known = if version == "00" {
        !more
    } else {
        version != "ff"
    };
    let valid = known && !zero(&trace) && !zero(&span);
    let flags = u8::from_str_radix(&text(4), 16).expect("two digits");
    valid.then_some((trace, span, flags))
}

fn state_is_valid(headers: &HeaderMap) -> bool {
    let lines: Vec<_> = headers
        .get_all("tracestate")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let whole = lines.join(&b',');
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let mut keys = BTreeSet::new();
    let mut count = 0;
    for member in whole.split(|byte| *byte == b',') {
        let start = member.iter().position(|byte| !b" \t".contains(byte));
        let Some(start) = start else { continue };
        let end = member
            .iter()
            .rposition(|byte| !b" \t".contains(byte))
            .expect("there is one");
        let Some(found) = MEMBER.captures(&member[start..=end]) else {
            return false;
        };
        count += 1;
        if !keys.insert(found[1].to_vec()) {
            return false;
        }
    }
    count <= 32 && bytes <= 4_096
}
