//! Netlink requests of our own making: messages, and the socket that has the kernel carry them
//! out. What the messages mean is their authors' business.

mod message;
mod socket;

pub use message::{Message, flags};
pub use socket::{Refused, Socket};

#[cfg(any(test, fuzzing))]
pub(crate) use socket::verdicts;
