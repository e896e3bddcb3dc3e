use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
    map
}

fn receive(pairs: &[(&'static str, &str)]) -> Option<TraceContext> {
    TraceContext::receive(&headers(pairs), Sampler::NEVER)
}

fn traceparent(value: &str) -> Option<TraceContext> {
    receive(&[("traceparent", value)])
}

#[test]
fn reads_traceparent() {
    let context = traceparent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(context.trace_id.to_string(), TRACE);
    assert_eq!(context.parent.unwrap().to_string(), SPAN);
    assert!(context.sampled);
    assert!(
        !traceparent(&format!("00-{TRACE}-{SPAN}-02"))
            .unwrap()
            .sampled
    );
}

#[test]
fn refuses_an_invalid_traceparent() {
    let zero_trace = "0".repeat(32);
    let zero_span = "0".repeat(16);
    for value in [
        String::new(),
        format!("00-{zero_trace}-{SPAN}-01"),
        format!("00-{TRACE}-{zero_span}-01"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-0"),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-011"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("01-{TRACE}-{SPAN}-01.more"),
    ] {
        assert_eq!(traceparent(&value), None, "{value:?}");
    }
    let valid = format!("00-{TRACE}-{SPAN}-01");
    let twice = receive(&[("traceparent", &valid), ("traceparent", &valid)]);
    assert_eq!(twice, None);
}

#[test]
fn reads_the_known_part_of_a_later_version() {
    for value in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"),
    ] {
        let context = traceparent(&value).unwrap();
        let mut sent = HeaderMap::new();
        context.send(None, &mut sent);
        assert_eq!(sent["traceparent"], format!("00-{TRACE}-{SPAN}-01"));
    }
}

#[test]
fn a_recorded_span_becomes_the_parent() {
    let context = traceparent(&format!("00-{TRACE}-{SPAN}-03")).unwrap();
    let mut sent = headers(&[("tracestate", "a=1")]);
    let span = SpanId::new(0xabc).unwrap();
    context.send(Some(span), &mut sent);
    assert_eq!(
        sent["traceparent"],
        format!("00-{TRACE}-0000000000000abc-03")
    );
    assert_eq!(sent["tracestate"], "a=1");
}

fn state_survives(values: &[&str]) -> bool {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let mut request = headers(&[("traceparent", &parent)]);
    for value in values {
        request.append("tracestate", value.parse().unwrap());
    }
    let context = TraceContext::receive(&request, Sampler::NEVER).unwrap();
    context.send(None, &mut request);
    request.contains_key("tracestate")
}

#[test]
fn passes_on_only_a_valid_tracestate() {
    assert!(state_survives(&["vendor=value", "tenant1@sys=a:b c,, x=1"]));
    let member = |n: usize| format!("k{n}=v");
    let list = |n: usize| (0..n).map(member).collect::<Vec<_>>().join(",");
    assert!(state_survives(&[&list(32)]));
    for invalid in [
        "novalue", "A=1", "a=1,a=2", "a=b=c", "a=", "=1", "1a=2", "x@1y=2",
    ] {
        assert!(!state_survives(&[invalid]), "{invalid:?}");
    }
    assert!(!state_survives(&[&list(33)]));
}

#[test]
fn drops_a_tracestate_without_a_traceparent() {
    let mut request = headers(&[("tracestate", "a=1"), ("traceparent", "nonsense")]);
    let context = TraceContext::receive(&request, Sampler::ratio(1.0)).unwrap();
    context.send(None, &mut request);
    assert!(!request.contains_key("tracestate"));
    assert_ne!(request["traceparent"], "nonsense");
}

#[test]
fn understands_b3_and_answers_in_kind() {
    let single = format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
    let mut request = headers(&[("b3", &single)]);
    let context = TraceContext::receive(&request, Sampler::NEVER).unwrap();
    assert!(context.sampled);
    context.send(SpanId::new(7), &mut request);
    assert_eq!(request["b3"], format!("{TRACE}-0000000000000007-1"));
    assert_eq!(
        request["traceparent"],
        format!("00-{TRACE}-0000000000000007-01")
    );

    let mut request = headers(&[
        ("x-b3-traceid", "A3CE929D0E0E4736"),
        ("x-b3-spanid", SPAN),
        ("x-b3-parentspanid", SPAN),
        ("x-b3-sampled", "0"),
    ]);
    let context = TraceContext::receive(&request, Sampler::ratio(1.0)).unwrap();
    assert!(!context.sampled, "a carried decision is honoured");
    context.send(SpanId::new(7), &mut request);
    assert_eq!(request["x-b3-traceid"], "0000000000000000a3ce929d0e0e4736");
    assert_eq!(request["x-b3-spanid"], "0000000000000007");
    assert_eq!(request["x-b3-sampled"], "0");
    assert!(!request.contains_key("x-b3-parentspanid") && !request.contains_key("b3"));
}

#[test]
fn honours_a_b3_decision_without_identifiers() {
    let denied = TraceContext::receive(&headers(&[("b3", "0")]), Sampler::ratio(1.0)).unwrap();
    assert!(!denied.sampled && denied.parent.is_none());
    assert!(receive(&[("b3", "d")]).unwrap().sampled);
    assert!(receive(&[("x-b3-flags", "1")]).unwrap().sampled);
}

#[test]
fn refuses_invalid_b3() {
    for value in ["", "-", "2", "abc-def-1", &format!("{TRACE}-{SPAN}-x")] {
        assert_eq!(receive(&[("b3", value)]), None, "{value:?}");
    }
}

#[test]
fn samples_by_ratio_from_the_identifier() {
    assert_eq!(receive(&[]), None);
    let quarter = Sampler::ratio(0.25);
    let sampled = |low: u64| quarter.samples(TraceId::new(u128::from(low) | 1 << 127).unwrap());
    assert!(sampled(0) && sampled((1 << 54) - 1));
    assert!(!sampled(1 << 54) && !sampled((1 << 56) - 1));
    assert!(sampled(1 << 56), "only the low 56 bits decide");
    assert_eq!(Sampler::ratio(f64::NAN), Sampler::NEVER);
    assert!(Sampler::ratio(7.0).samples(TraceId::new(u128::MAX).unwrap()));
}

proptest! {
    #[test]
    fn survives_any_headers(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 8)) {
        let names = [&TRACEPARENT, &TRACESTATE, &B3, &B3_TRACE_ID, &B3_SPAN_ID, &B3_SAMPLED, &B3_FLAGS, &B3_PARENT_SPAN_ID];
        let mut request = HeaderMap::new();
        for (name, value) in names.into_iter().zip(&values) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                request.append(name, value);
            }
        }
        let context = TraceContext::receive(&request, Sampler::ratio(1.0)).unwrap();
        context.send(None, &mut request);
        let again = TraceContext::receive(&request, Sampler::NEVER).unwrap();
        prop_assert_eq!(again.trace_id, context.trace_id);
        prop_assert_eq!(again.sampled, context.sampled);
    }

    #[test]
    fn reads_what_it_writes(trace in 1u128.., span in 1u64.., sampled: bool) {
        let text = format!("00-{trace:032x}-{span:016x}-0{}", u8::from(sampled));
        let context = traceparent(&text).unwrap();
        let mut sent = HeaderMap::new();
        context.send(None, &mut sent);
        prop_assert_eq!(sent["traceparent"].to_str().unwrap(), text);
    }
}
