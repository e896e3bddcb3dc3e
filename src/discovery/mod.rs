//! The model that both planes share, and the stream between them.

mod backoff;
mod client;
mod connection;
mod grpc;
pub mod model;
pub mod proto;
pub mod resource;
mod session;
mod snapshot;
mod subscription;
mod table;
pub mod validate;

pub use client::{ClientOptions, Controller, DiscoveryClient, Runner, Status};
pub use subscription::{State, Subscription};
