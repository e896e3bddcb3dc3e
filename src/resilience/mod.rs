//! The resilience decisions: pure state machines that take the time as an argument, do no I/O
//! and spawn no task.

mod adaptive;
mod baseline;
pub(crate) mod bounds;
mod breaker;
mod bulkhead;
pub mod classify;
pub mod ejection;
pub mod fallback;
mod policy;
mod priority;
mod recovery;
pub mod retry;
mod validate;
mod window;

#[cfg(test)]
mod tests;

pub use adaptive::AdaptiveLimit;
pub use breaker::{Breaker, Open, Permit, State, Transition, TripCause};
pub use bulkhead::{Bulkhead, CallerKey, Entry, Place, RejectCause, Ticket, Woken};
pub use classify::{CallResult, Outcome};
pub use policy::*;
pub use priority::Priority;
pub use retry::{RetryBudget, TryFailure};
pub use validate::FieldError;
