//! The resilience decisions: pure state machines that take the time as an argument, do no I/O
//! and spawn no task.

mod policy;

pub use policy::*;
