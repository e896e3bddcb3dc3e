//! The server's side: the exchanges of one connection, each in a task of its own.

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll, time::Duration};

use http::Request;
use http_body::Body;

use super::{
    CONNECTION_WINDOW, STREAM_WINDOW,
    body::ReceivedBody,
    driver::Driver,
    handle::{Reader, Writer},
    keep_alive::KeepAlive,
    pipe::Pipe,
    proto::{Config, Connection, Error, Reason, Role},
    unsaid_length,
};
use crate::{
    host,
    proxy::{
        http::{
            context::Context,
            exchange::{self, Client},
            pool::MAX_HEADER_LIST,
            received::Received,
        },
        io::Stream,
    },
    telemetry::drain,
};

/// Exchanges of one client at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// Streams that may end with an error that we find, and requests that may be taken back, in a second
/// before the connection is given up.
const FAULTS: u32 = 1024;
/// The same of a peer proxy. A thousand clients behind it may cancel at once, and none of them
/// should cost the others their connection; an application that talks to its own sidecar gets the
/// lower limit.
const MESH_FAULTS: u32 = 4096;
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn config(mesh: bool) -> Config {
    let faults = if mesh { MESH_FAULTS } else { FAULTS };
    Config {
        role: Role::Server,
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        max_streams: MAX_STREAMS,
        first_streams: 0,
        max_header_list: MAX_HEADER_LIST,
        resets: faults,
        errors: faults,
        clock: host::now,
    }
}

/// Serves until the client closes. On a drain the client is told (GOAWAY), and exchanges under way
/// finish.
pub async fn serve(stream: Stream, context: Rc<Context>, drain: drain::Watch) {
    let connection = Connection::new(config(context.caller.is_some()));
    let driver = Driver::new(stream, connection);
    // Boxed, since connections of HTTP/1.1 have room for it too.
    if let Err(error) = Box::pin(accept(driver, &context, drain)).await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn accept(
    mut driver: Driver<Stream>,
    context: &Rc<Context>,
    drain: drain::Watch,
) -> Result<(), Error> {
    let connection = driver.connection().clone();
    let mut keep_alive = KeepAlive::new(PING_EVERY, PING_PATIENCE);
    let mut draining = pin!(drain.draining());
    let mut told = false;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            connection.borrow_mut().shut_down();
        }
        if keep_alive.poll_lost(cx, &connection, || true).is_ready() {
            tracing::debug!("a client does not answer pings any more");
            return Poll::Ready(Ok(()));
        }
        driver.poll(cx, |accepted| {
            let reader = Reader::new(connection.clone(), accepted.key);
            let writer = Writer::new(connection.clone(), accepted.key);
            let body = ReceivedBody::new(reader, &accepted.head.headers);
            let request = Request::from_parts(accepted.head, Received::H2(body));
            // Boxed, since a task's future is moved several times before and after it is polled.
            tokio::task::spawn_local(Box::pin(answer(context.clone(), request, writer)));
        })
    })
    .await
}

/// One exchange, unless the client resets it.
async fn answer(context: Rc<Context>, request: Request<Received>, writer: Writer) {
    // Boxed, since there is no need of it once there is an answer.
    let mut handling = Box::pin(exchange::handle(context, request, Client::Http2(&writer)));
    let reply = poll_fn(|cx| match handling.as_mut().poll(cx) {
        Poll::Ready(reply) => Poll::Ready(Some(reply)),
        Poll::Pending => writer.poll_reset(cx).map(|_| None),
    });
    let Some(reply) = reply.await else { return };
    drop(handling);
    let (mut head, body) = reply.into_parts();
    let ends = body.is_end_stream();
    if let Some(length) = unsaid_length(&head.headers, &body) {
        head.headers.insert(http::header::CONTENT_LENGTH, length);
    }
    let sent = async {
        poll_fn(|cx| writer.poll_head_room(cx)).await?;
        writer.respond(head.status, &head.headers, ends)?;
        if !ends {
            Pipe::new(body, writer, Reason::INTERNAL_ERROR).await?;
        }
        Ok::<_, super::pipe::PipeError>(())
    };
    if let Err(error) = sent.await {
        tracing::debug!(%error, "an answer was not sent whole");
    }
}
