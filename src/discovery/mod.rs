//! The model that both planes share, and the stream between them.

mod backoff;
pub mod certify;
mod client;
mod codec;
mod connection;
mod grpc;
mod kept_identity;
pub mod model;
pub mod probe;
pub mod proto;
pub mod resource;
pub(crate) mod session;
mod snapshot;
mod subscription;
mod table;
pub mod validate;

pub use certify::{Certifier, CertifyError};
pub use client::{
    CONTROLLER_NAMESPACE, ClientOptions, Controller, DiscoveryClient, Runner, Status, controller_id,
};
pub use grpc::DialError;
pub use subscription::{State, Subscription};
