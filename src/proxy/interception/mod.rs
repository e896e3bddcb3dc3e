//! Transparent interception: which connections the kernel hands to the proxy, as nftables rules
//! for the pod's network namespace. Recovering where a connection was going is
//! [`original_dst`](crate::host::original_dst)'s part.

mod netfilter;
mod ruleset;

pub use netfilter::{InterceptionError, apply, remove};
pub use ruleset::{Interception, Ruleset};
