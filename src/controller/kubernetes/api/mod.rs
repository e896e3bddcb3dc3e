//! Our own kinds, as the Kubernetes API server holds them, and those of the Gateway API that are
//! lowered.
//!
//! Whoever lists them should wrap the type in [`kube::core::DeserializeGuard`]: an object that a
//! newer version wrote then fails alone, and not the whole list.

pub mod access_policy;
mod crd;
#[cfg(test)]
mod crds_tests;
#[cfg(test)]
mod examples_tests;
pub mod gateway;
pub mod grpc_route;
pub mod http_route;
pub mod policy_status;
pub mod reference_grant;
pub mod resilience_policy;

pub use access_policy::{AccessPolicy, AccessPolicySpec};
pub use policy_status::PolicyStatus;
pub use resilience_policy::{ResiliencePolicy, ResiliencePolicySpec};

/// The API group of our kinds, and the prefix of labels and annotations.
pub const GROUP: &str = "outrigger.dev";
/// The group of the routes that a policy can target.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
