//! Why a pod is not admitted as it is.

use std::fmt;

use super::{annotations::GROUP, quantity::Quantity};

/// Whose annotation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Pod,
    Namespace,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Namespace => "namespace",
        })
    }
}

/// What must be mended before the pod can be injected.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    #[error("the {whose}'s annotation {GROUP}{name} is {value:?}: {why}")]
    Annotation {
        whose: Whose,
        name: &'static str,
        value: String,
        why: String,
    },
    #[error(
        "the proxy would request {request} of {resource} with a limit of {limit}: lower {GROUP}proxy-{resource}-request or raise {GROUP}proxy-{resource}-limit"
    )]
    RequestAboveLimit {
        resource: String,
        request: Quantity,
        limit: Quantity,
    },
    #[error(
        "container {container} uses port {port}, which the proxy needs: move it to another port, or annotate the pod with {GROUP}inject=disabled"
    )]
    PortTaken { container: String, port: u16 },
    #[error(
        "the pod has a {what} {name} of its own, which is what the proxy's is called: rename it, or annotate the pod with {GROUP}inject=disabled"
    )]
    NameTaken {
        what: &'static str,
        name: &'static str,
    },
    #[error("this is not a pod: {0}")]
    NotAPod(&'static str),
}
