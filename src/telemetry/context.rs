//! The trace context of a request: read from its headers or begun here, and written to the
//! request that goes on.
//!
//! W3C Trace Context (Level 1, with Level 2's random flag passed through) comes first; B3, single
//! and multi header, is understood where there is no `traceparent`, and every form that a
//! request came with is rewritten when it goes on.

mod b3;
mod w3c;

use std::{fmt, num::NonZeroU64, num::NonZeroU128};

use http::{HeaderMap, HeaderName};

/// Sixteen bytes, never all zero; written as 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// Eight bytes, never all zero; written as 16 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// None for zero, which the specification calls invalid.
    pub fn new(id: u128) -> Option<Self> {
        NonZeroU128::new(id).map(Self)
    }

    pub fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(1..)).expect("the range starts at 1"))
    }

    pub fn get(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// None for zero, which the specification calls invalid.
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(1..)).expect("the range starts at 1"))
    }

    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// Displays and debugs an identifier as hexadecimal of a fixed width.
macro_rules! hexadecimal {
    ($type:ty, $format:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}
hexadecimal!(TraceId, "{:032x}");
hexadecimal!(SpanId, "{:016x}");

/// The share of the traces begun here that is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Traces whose low 56 bits are below this are recorded.
    threshold: u64,
}

const RANDOM_BITS: u32 = 56;

impl Sampler {
    pub const NEVER: Self = Self { threshold: 0 };

    /// `ratio` from 0 to 1; what lies outside is taken as the nearer end, and NaN as 0.
    pub fn ratio(ratio: f64) -> Self {
        let all = (1u64 << RANDOM_BITS) as f64;
        Self {
            threshold: (ratio.clamp(0.0, 1.0) * all) as u64,
        }
    }

    /// Decides from the identifier alone, on the bits that Level 2 makes random, so that every
    /// proxy with the same ratio decides alike.
    pub fn samples(self, id: TraceId) -> bool {
        (id.get() as u64) & ((1 << RANDOM_BITS) - 1) < self.threshold
    }
}

/// Which B3 headers a request came with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct B3Forms {
    single: bool,
    multi: bool,
}

/// Where a request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    /// The span that sent the request; None where the trace begins here.
    pub parent: Option<SpanId>,
    /// Whether the trace is recorded. A decision that the request carries is honoured.
    pub sampled: bool,
    /// Level 2: the trace identifier is random in its low 56 bits. Passed through.
    random: bool,
    /// The request's `tracestate` belongs to its valid `traceparent` and may go on.
    keep_state: bool,
    b3: B3Forms,
}

impl TraceContext {
    /// The context that a request carries, or a new one. None only where the request carries
    /// none and the sampler never samples: there is nothing to write then.
    pub fn receive(headers: &HeaderMap, sampler: Sampler) -> Option<Self> {
        let b3 = B3Forms {
            single: headers.contains_key(&B3),
            multi: headers.contains_key(&B3_TRACE_ID),
        };
        if let Some(w3c) = w3c::parse(headers) {
            return Some(Self {
                trace_id: w3c.trace_id,
                parent: Some(w3c.parent),
                sampled: w3c.sampled,
                random: w3c.random,
                keep_state: w3c::state_is_valid(headers),
                b3,
            });
        }
        let carried = b3::parse(headers);
        if carried == b3::B3::default() && sampler == Sampler::NEVER {
            return None;
        }
        let begun_here = carried.ids.is_none();
        let (trace_id, parent) = match carried.ids {
            Some((trace_id, parent)) => (trace_id, Some(parent)),
            None => (TraceId::random(), None),
        };
        Some(Self {
            trace_id,
            parent,
            sampled: carried.sampled.unwrap_or_else(|| sampler.samples(trace_id)),
            random: begun_here,
            keep_state: false,
            b3,
        })
    }

    /// Writes the context to a request that goes on, with the span that sends it as the parent.
    /// Where nothing was recorded here, the span that sent us the request stays the parent.
    pub fn send(&self, span: Option<SpanId>, headers: &mut HeaderMap) {
        let span = span.or(self.parent).unwrap_or_else(SpanId::random);
        let mut parent = w3c::write(self, span);
        // HTTP/2 would enter each one in its table of headers to come, to no avail.
        parent.set_sensitive(true);
        headers.insert(&TRACEPARENT, parent);
        if !self.keep_state {
            headers.remove(&TRACESTATE);
        }
        b3::write(self, span, headers);
    }
}

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static B3: HeaderName = HeaderName::from_static("b3");
static B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
static B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
static B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
static B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Reads exactly as many hexadecimal digits as the text has, at most 32; uppercase only where
/// the format allows it.
fn hex(digits: &[u8], allow_uppercase: bool) -> Option<u128> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    digits.iter().try_fold(0u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' if allow_uppercase => digit - b'A' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Writes `value` as lowercase hexadecimal, filling `out`.
fn write_hex(value: u128, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (place, byte) in out.iter_mut().rev().enumerate() {
        *byte = DIGITS[(value >> (4 * place)) as usize & 0xf];
    }
}

#[cfg(test)]
mod tests;
