//! The registry from Kubernetes: what the cluster says in, the discovery model out, and what
//! became of each object back into its status.

pub mod api;
pub mod config;
pub mod findings;
pub mod lower;
pub mod registry;
