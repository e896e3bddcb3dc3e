//! The breaker and the bulkhead, by example and by invariant, with a clock moved by hand.

mod breaker;
mod bulkhead;
