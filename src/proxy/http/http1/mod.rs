//! HTTP/1 connections: [`proto`] is the protocol, without I/O, and the rest carries it.
//!
//! A client's connection is one task, which reads its requests' bodies for whoever takes them. A
//! connection to an upstream has none: the exchange that has it reads and writes, and gives it back
//! with the last byte of its answer. So an exchange passes through no queue, and no task is woken
//! for it but those that wait for bytes.

mod answer;
mod asked;
mod client;
mod early;
mod inbox;
mod outgoing;
mod patience;
pub(crate) mod proto;
mod server;
mod serving;
#[cfg(test)]
mod tests;
mod wire;

use tokio::sync::oneshot;

pub use answer::ResponseBody;
pub use client::{Connection, Head, Home};
pub use inbox::RequestBody;
#[cfg(any(test, fuzzing))]
pub(crate) use patience::{Doing, Next};
pub use proto::{Error, Spelling};
pub use server::serve;
pub use serving::{Client, ReplyBody};
#[cfg(any(test, fuzzing))]
pub(crate) use serving::{Upkeep, carry};

use crate::proxy::io::Rewind;

/// A connection after `101 Switching Protocols`.
pub type OnUpgrade<S> = oneshot::Receiver<Rewind<S>>;
