//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) without I/O: bytes that came go in, bytes to send come
//! out, and who waits for either is woken. For one thread: nothing here is locked or counted
//! atomically.

mod connection;
mod error;
mod flow;
mod frame;
mod hpack;
mod limits;
mod output;
mod section;
mod streams;

pub use connection::{Accepted, Config, Connection, Role};
pub use error::{Error, Reason};
pub use hpack::RequestHead;
pub use output::FULL;
pub use streams::Key;
