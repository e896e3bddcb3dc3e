//! Tests of the whole, from outside: what runs here uses the system as the program does.

mod access;
mod command_line;
mod conformance;
mod cost;
mod discovery;
mod faults;
mod harness;
mod hostile;
mod inside;
mod interception;
mod lifecycle;
mod netns;
mod policies;
mod probes;
mod protocols;
mod soak;
mod supply;
