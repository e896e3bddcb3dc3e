//! Outrigger: a service mesh that turns the microservice patterns into configuration.

#![deny(unsafe_code)]

pub mod access;
pub mod cli;
pub mod controller;
pub mod discovery;
pub mod identity;
pub mod netlink;
pub mod netns;
pub mod proxy;
pub mod ranges;
pub mod resilience;
pub mod telemetry;
pub mod units;
