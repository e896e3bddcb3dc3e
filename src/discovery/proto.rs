//! The generated messages and services of `proto/`.

#![allow(clippy::all, missing_docs)]

tonic::include_proto!("envoy.service.discovery.v3");

/// The identity service.
pub mod identity {
    tonic::include_proto!("outrigger.identity.v1");
}
