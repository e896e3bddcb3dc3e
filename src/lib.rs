//! Outrigger: a service mesh that turns the microservice patterns into configuration.

#![deny(unsafe_code)]

pub mod access;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod controller;
pub mod discovery;
pub mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod host;
pub mod identity;
pub mod netlink;
pub mod netns;
pub mod proxy;
pub mod ranges;
pub mod resilience;
#[cfg(test)]
mod simulation;
pub mod telemetry;
pub mod units;
pub mod yaml;
