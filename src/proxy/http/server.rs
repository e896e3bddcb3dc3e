//! Serving HTTP on an accepted connection until it ends or the proxy drains.

use std::{convert::Infallible, pin::pin, rc::Rc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    batch::Batched,
    context::Context,
    exchange, h1,
    local_executor::LocalExecutor,
    pool::{CONNECTION_WINDOW, MAX_HEADER_LIST, SEND_BUFFER, STREAM_WINDOW, Version},
};
use crate::{proxy::io::Stream, telemetry::drain};

/// Exchanges of one client at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// What one peer proxy may reset before the connection is given up. A thousand clients behind it
/// may cancel at once, and none of them should cost the others their connection; an application
/// that talks to its own sidecar gets hyper's lower limits.
const MESH_RESETS: usize = 4096;

/// Serves until the client closes. On a drain the client is told (`connection: close`, GOAWAY)
/// and exchanges under way finish.
pub async fn serve(stream: Stream, version: Version, context: Rc<Context>, drain: drain::Watch) {
    match version {
        Version::H1 => h1::serve(stream, context, drain).await,
        // Boxed, so that connections of HTTP/1.1, of which there are many more, stay small.
        Version::H2 => Box::pin(serve_h2(stream, context, drain)).await,
    }
}

async fn serve_h2(stream: Stream, context: Rc<Context>, drain: drain::Watch) {
    let mesh = context.caller.is_some();
    let service = service_fn(move |request| {
        // Boxed, since hyper moves this future into a task of its own, twice.
        let reply = Box::pin(exchange::handle(context.clone(), request, None));
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let stream = Batched::new(stream);
    let io = TokioIo::new(stream.clone());
    let serving = stream.flushed(async {
        let mut connection = pin!(http2(mesh).serve_connection(io, service));
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = drain.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    if let Err(error) = serving.await {
        tracing::debug!(%error, "connection ended");
    }
}

fn http2(mesh: bool) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .auto_date_header(false)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    if mesh {
        builder
            .max_pending_accept_reset_streams(MESH_RESETS)
            .max_local_error_reset_streams(MESH_RESETS);
    }
    builder
}
