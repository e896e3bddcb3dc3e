//! Who may call what: the rules, and the decision. Pure; enforced by the proxy of the workload
//! that is called.

mod decide;
pub(crate) mod path;
mod policy;
mod validate;

#[cfg(test)]
mod tests;

pub use decide::{Call, Http, Table, Verdict};
pub use policy::*;
pub use validate::{check, check_rule};
