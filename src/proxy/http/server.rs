//! Serving HTTP on an accepted connection until it ends or the proxy drains.

use std::{convert::Infallible, pin::pin, rc::Rc, time::Duration};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{
    context::Context,
    exchange,
    local_executor::LocalExecutor,
    pool::{CONNECTION_WINDOW, MAX_HEADER_LIST, STREAM_WINDOW, Version},
};
use crate::{proxy::io::Stream, telemetry::drain};

/// The longest that a connection may wait for a complete head, idle time between two exchanges
/// included (hyper has one timer for both).
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Exchanges of one client at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// What one peer proxy may reset before the connection is given up. A thousand clients behind it
/// may cancel at once, and none of them should cost the others their connection; an application
/// that talks to its own sidecar gets hyper's lower limits.
const MESH_RESETS: usize = 4096;

/// Serves until the client closes. On a drain the client is told (`connection: close`, GOAWAY)
/// and exchanges under way finish.
pub async fn serve(stream: Stream, version: Version, context: Rc<Context>, drain: drain::Watch) {
    let mesh = context.caller.is_some();
    let drain_min = context.worker.shared.config.drain_min;
    let service = service_fn(move |request| {
        // Boxed, since hyper keeps room for this future in every connection, idle ones too.
        let reply = Box::pin(exchange::handle(context.clone(), request));
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let io = TokioIo::new(stream);
    let ended = match version {
        Version::H1 => {
            let connection = http1().serve_connection(io, service).with_upgrades();
            let mut connection = pin!(connection);
            // An idle HTTP/1.1 client cannot be told: until then it learns from the next response.
            let last_moment = async {
                drain.draining().await;
                tokio::time::sleep(drain_min).await;
            };
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = last_moment => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        Version::H2 => {
            // Boxed, so that connections of HTTP/1.1, of which there are many more, stay small.
            let mut connection = Box::pin(http2(mesh).serve_connection(io, service));
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = drain.draining() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Two of hyper's options stay off. `half_close`: a client that closed has given up, and its
/// request must end with it. `pipeline_flush`: it lifts the limit of the write buffer, and a
/// client that does not read would have the whole answer kept for it.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .preserve_header_case(true)
        .max_header_size(MAX_HEADER_LIST as usize)
        // The application's own date goes through; a second one would not be its word.
        .auto_date_header(false);
    builder
}

fn http2(mesh: bool) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(STREAM_WINDOW as usize)
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
