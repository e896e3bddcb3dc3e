//! `outrigger check`: whether the Outrigger in a cluster is well, from its certificates to what
//! every proxy says.

mod conclude;
mod facts;
mod gather;
mod proxies;

pub use conclude::conclude;
pub use gather::gather;
