//! The whole mesh on a simulated clock and network: clients, proxies, servers and a controller in
//! one thread, all of whose luck comes from one seed. `docs/simulation.md` says what is simulated
//! and what is checked.

mod app;
mod checks;
mod mesh;
mod network;
mod observed;
mod plan;
pub mod process;
mod registry;
mod run;
mod sidecar;
pub mod socket;
mod tests;
mod trace;
pub mod watch;
