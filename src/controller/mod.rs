//! The control plane: the registry in, discovery and identities out.

pub mod authority;
mod certificate_limit;
mod connection_limit;
pub mod injection;
pub mod kubernetes;
mod locate;
mod own_certificate;
pub mod registry_file;
mod run;
mod server;
mod store;
pub(crate) mod stream;
pub mod token;
mod watch;

pub use own_certificate::OwnCertificateError;
pub use run::{Controller, Options, RunError, Status, read};
pub use server::Server;
pub use store::{Delta, Host, Live, Refused, Store, Stored, View};
