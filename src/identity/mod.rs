//! Who a workload is, and how it proves it.

mod spiffe;

pub use spiffe::{InvalidSpiffeId, SpiffeId};
