//! The data plane: a connection's way from accept to close.

pub mod balance;
pub mod client_hello;
pub mod detect;
pub mod head;
pub mod interception;
pub mod original_dst;
pub mod route;
