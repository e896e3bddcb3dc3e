//! What a request costs each of the two proxies on its way, in instructions and allocations, as
//! callgrind counts them. Other than time, that does not depend on how busy a machine is, so a
//! small loss is seen. `make cost` builds what is measured, and compares it with baseline.json;
//! docs/performance.md says what to do about a difference.
//!
//! One request at a time on one connection, so that nothing is batched by chance. Over seven runs,
//! some of them beside ten other compilers, the instructions of an HTTP/1.1 request lay within
//! 0.3 %, those of a gRPC call within 2.4 % (its messages come in more pieces when the origin is
//! slow); the allocations within 0.1 of a request's.

mod baseline;
mod callgrind;
mod requests;
mod traffic;
