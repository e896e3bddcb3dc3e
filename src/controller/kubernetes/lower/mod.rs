//! From objects of the cluster to the resources of the discovery stream: pure.
//!
//! [`read`] keeps of each object only what matters here ([`object`]); [`Cluster`] holds that, and
//! knows what a changed object touches, so that a change costs by what it touches and not by the
//! size of the cluster.

pub mod access;
mod access_policy;
mod account;
mod address;
mod cluster;
mod dirty;
mod endpoints;
mod index;
pub mod object;
mod policy;
mod ports;
mod protocol;
mod reach;
pub mod read;
mod reference;
mod route;
mod service;
#[cfg(test)]
mod tests;
mod touch;

pub use cluster::{Cluster, Update};
