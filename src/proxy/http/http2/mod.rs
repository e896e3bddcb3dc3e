//! HTTP/2 connections by the h2 crate itself. hyper's layer above it spawns a task and two
//! channels for each exchange that a client sends; on the hop between two proxies, where all
//! exchanges share one connection, that costs more than the exchange's frames do.

mod body;
mod client;
mod keep_alive;
mod pipe;
mod server;

pub use body::ReceivedBody;
pub use client::{Sender, connect};
pub use server::serve;

/// One stream's window. Connection windows are four times that: with equal ones a single
/// stalled reader takes the whole connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What is kept of one stream's body while its peer gives no window, in bytes. Hundreds of readers
/// may stop at a time, and the proxy must stay below the memory that it is given.
const SEND_BUFFER: usize = 256 << 10;

/// Writes the length of a body that is known and has not been said, so that its reader need not
/// wait for the end to know it is whole.
fn say_length<B: http_body::Body>(headers: &mut http::HeaderMap, body: &B) {
    if let Some(length) = body.size_hint().exact() {
        headers
            .entry(http::header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
}
