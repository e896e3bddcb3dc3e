//! Serving HTTP on an accepted connection until it ends or the proxy drains.

use std::rc::Rc;

use super::{context::Context, http1, http2, pool::Version};
use crate::{proxy::io::Stream, telemetry::drain};

/// Serves until the client closes. On a drain the client is told (`connection: close`, GOAWAY)
/// and exchanges under way finish.
pub async fn serve(stream: Stream, version: Version, context: Rc<Context>, drain: drain::Watch) {
    match version {
        Version::H1 => http1::serve(stream, context, drain).await,
        // Boxed, so that connections of HTTP/1.1, of which there are many more, stay small.
        Version::H2 => Box::pin(http2::serve(stream, context, drain)).await,
    }
}
