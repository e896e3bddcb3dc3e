//! What the policies promise, seen from outside: the real controller and proxies between clients
//! and an origin whose answers the test decides.

mod breaker;
mod fallback;
mod identity;
mod limits;
mod origin;
mod routes;
pub mod setup;
mod unsent;
