//! Injection: a pod goes in, the pod with its sidecar comes out, with what its owner should know.

mod config;
mod quantity;

pub use config::{ImagePullPolicy, InjectionConfig, LogFormat, Resources};
pub use quantity::{InvalidQuantity, Quantity};
