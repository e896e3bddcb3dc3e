//! Each protocol, between software that no one here wrote, through both proxies.

mod bodies;
mod grpc;
mod http1;
mod http2;
mod idle;
mod streaming;
mod tcp;
