//! HTTP/2 connections: [`proto`] is the protocol, without I/O, and the rest carries it.
//!
//! One task drives a connection, and everyone who sends writes straight into what it gathers: on
//! the hop between two proxies, where all exchanges share one connection, tasks and channels for
//! each of them would cost more than their frames do.

mod body;
mod client;
mod driver;
mod handle;
mod keep_alive;
mod pipe;
pub(crate) mod proto;
mod server;
#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, header};

pub use body::ReceivedBody;
pub use client::{Head, Sender, Unanswered, connect};
pub use handle::Writer;
pub use proto::{Error, Reason};
pub use server::serve;

/// One stream's window. Connection windows are four times that: with equal ones a single
/// stalled reader takes the whole connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The length of a body that is known and has not been said, so that its reader need not wait for
/// the end to know it is whole. None for a body that ends before it begins.
fn unsaid_length<B: http_body::Body>(headers: &HeaderMap, body: &B) -> Option<HeaderValue> {
    if body.is_end_stream() {
        return None;
    }
    let length = body.size_hint().exact()?;
    (!headers.contains_key(header::CONTENT_LENGTH)).then(|| length.into())
}
