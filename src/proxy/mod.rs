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
pub mod original_dst;
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
