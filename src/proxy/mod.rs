//! The data plane: a connection's way from accept to close.

mod admission;
pub mod balance;
pub mod belief;
pub mod client_hello;
pub mod config;
pub mod detect;
mod dial;
mod hairpin;
pub mod head;
pub(crate) mod http;
mod inbound;
pub mod interception;
mod io;
mod listener;
mod memory;
mod outbound;
mod own;
mod probe;
pub mod route;
pub mod run;
mod sniff;
mod tcp;
mod tracing;
mod upstream;
mod worker;

#[cfg(test)]
pub(crate) use self::{
    http::{kind::CLIENT_ID, reply::REASON},
    run::{bind_worker, discover, work},
    tracing::Tracer,
    worker::Shared,
};
