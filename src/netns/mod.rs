//! Pods without a cluster: network namespaces that this program makes for itself, in a user
//! namespace of its own, so that it needs no root. What runs in them is for others to say.
//!
//! [`enter`] starts the program again inside a user namespace, where it may then make a
//! [`World`]: one node with a bridge, and a [`Pod`] per namespace that hangs on it.

mod capture;
mod enter;
mod links;
mod namespace;
mod sys;
mod world;

pub use capture::Capture;
pub use enter::{Entry, enter};
pub use world::{NODE_V4, Pod, VIRTUAL_V4, VIRTUAL_V6, World};

use std::io;

use crate::netlink::Refused;

/// Why there are no pods.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("cannot make user namespaces ({source}): {hint}")]
    Forbidden { hint: String, source: io::Error },
    #[error("cannot start again inside the namespaces: {0}")]
    Start(#[source] io::Error),
    #[error("cannot make the network namespace of {name}: {source}")]
    Namespace { name: String, source: io::Error },
    #[error("cannot {what}: {source}")]
    Link { what: String, source: Refused },
    #[error("cannot find the network device {name}: {source}")]
    NoDevice { name: String, source: io::Error },
    #[error("a world holds at most {} pods", world::MAX_PODS)]
    Full,
}
