//! What hit other proxies: bytes and clients that no honest peer sends.

mod http1;
mod http2;
mod slow;
