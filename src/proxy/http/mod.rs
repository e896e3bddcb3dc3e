//! HTTP through the proxy: serving clients, and sending on what they ask.

mod activity;
mod batch;
mod body;
pub mod context;
mod deadline;
mod exchange;
mod fallback;
mod forward;
mod framing;
pub(crate) mod h1;
mod held;
pub(crate) mod kind;
mod local_executor;
mod mirror;
pub mod pool;
mod replay;
pub mod reply;
pub mod server;
mod settle;
pub mod stale;
mod upgrade;
