//! The server's side: the exchanges of one connection, each in a task of its own.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, Connection, SendResponse},
};
use http::{Request, Response};
use http_body::Body;

use super::{
    CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW, body::ReceivedBody, keep_alive::KeepAlive,
    pipe::Pipe, say_length,
};
use crate::{
    proxy::{
        http::{
            batch::Batched, context::Context, exchange, pool::MAX_HEADER_LIST, received::Received,
        },
        io::Stream,
    },
    telemetry::drain,
};

/// Exchanges of one client at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// Streams that may end with an error of ours before the connection is given up.
const LOCAL_ERRORS: usize = 1024;
/// What one peer proxy may reset before the connection is given up. A thousand clients behind it
/// may cancel at once, and none of them should cost the others their connection; an application
/// that talks to its own sidecar gets h2's lower limit.
const MESH_RESETS: usize = 4096;
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// Serves until the client closes. On a drain the client is told (GOAWAY), and exchanges under way
/// finish.
pub async fn serve(stream: Stream, context: Rc<Context>, drain: drain::Watch) {
    let mesh = context.caller.is_some();
    let stream = Batched::new(stream);
    let serving = stream.flushed(async {
        let connection = builder(mesh).handshake(stream.clone()).await?;
        accept(connection, &context, drain).await
    });
    if let Err(error) = serving.await {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder(mesh: bool) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(if mesh { MESH_RESETS } else { LOCAL_ERRORS }));
    if mesh {
        builder.max_pending_accept_reset_streams(MESH_RESETS);
    }
    builder
}

async fn accept(
    mut connection: Connection<Batched<Stream>, Bytes>,
    context: &Rc<Context>,
    drain: drain::Watch,
) -> Result<(), h2::Error> {
    let pings = connection.ping_pong().expect("nobody has taken it before");
    let mut keep_alive = KeepAlive::new(pings, PING_EVERY, PING_PATIENCE);
    let mut draining = pin!(drain.draining());
    let mut told = false;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            connection.graceful_shutdown();
        }
        if keep_alive.poll_lost(cx, || true).is_ready() {
            tracing::debug!("a client does not answer pings any more");
            return Poll::Ready(Ok(()));
        }
        while let Some(accepted) = ready!(connection.poll_accept(cx)) {
            let (request, respond) = accepted?;
            tokio::task::spawn_local(answer(context.clone(), request, respond));
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// One exchange, unless the client resets it.
async fn answer(
    context: Rc<Context>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (head, stream) = request.into_parts();
    let body = Received::H2(ReceivedBody::new(stream, &head.headers, None));
    let request = Request::from_parts(head, body);
    // Boxed, since a task's future is moved twice before it is polled.
    let mut handling = Box::pin(exchange::handle(context, request, None));
    let reply = poll_fn(|cx| match handling.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Some(reply)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    });
    let Some(reply) = reply.await else { return };
    drop(handling);
    let (mut head, body) = reply.into_parts();
    let ends = body.is_end_stream();
    if !ends {
        say_length(&mut head.headers, &body);
    }
    let sent = match respond.send_response(Response::from_parts(head, ()), ends) {
        Ok(_) if ends => return,
        Ok(stream) => Pipe::new(body, stream, Reason::INTERNAL_ERROR)
            .await
            .map_err(|e| e.to_string()),
        Err(error) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Err(error.to_string())
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer was not sent whole");
    }
}
