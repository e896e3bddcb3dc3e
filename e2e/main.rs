//! Tests on a real Kubernetes: `make e2e`. One test at a time, each in a namespace of its own.

mod absent;
mod basics;
mod chart;
mod control;
mod harness;
mod injection;
mod people;
mod propagation;
mod quick_start;
mod registry;
mod resilience;
mod security;
mod statuses;
mod zero_loss;
