//! The registry from Kubernetes: what the cluster says in, the discovery model out, and what
//! became of each object back into its status.

pub mod api;
mod authenticate;
mod bundle;
mod ca_secret;
pub mod config;
mod custody;
mod events;
pub mod findings;
mod injector;
mod leader;
pub mod lower;
mod objects;
pub mod registry;
mod replicas;
mod roots;
mod run;
mod status;
mod status_writer;
mod webhook_certificate;
mod webhook_keeper;

pub use authenticate::AUDIENCE;
pub use ca_secret::CaSecretError;
pub use run::{Listen, Options, RunError, run};
