//! HTTP through the proxy: serving clients, and sending on what they ask.

pub(crate) mod ahead;
pub(crate) mod body;
pub mod context;
mod deadline;
mod exchange;
mod fallback;
#[cfg(test)]
mod fed;
mod forward;
mod held;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod kind;
mod mirror;
pub mod pool;
pub mod received;
mod replay;
pub mod reply;
mod scratch;
pub mod server;
mod settle;
pub mod stale;
mod upgrade;
