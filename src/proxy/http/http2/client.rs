//! The client's side: one connection, and a way to send exchanges over it.

use std::{cell::Cell, future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{
    Reason,
    client::{self, Connection, SendRequest},
};
use http::{Request, Response};
use http_body::Body;
use tokio::task::AbortHandle;

use super::{
    CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW, body::ReceivedBody, keep_alive::KeepAlive,
    pipe::Pipe, say_length,
};
use crate::proxy::{
    http::{batch::Batched, body::RequestBody, pool::MAX_HEADER_LIST, received::Received},
    io::Stream,
};

/// Exchanges that a peer is trusted with before its SETTINGS have come.
const FIRST_STREAMS: usize = 100;
/// Streams of ours that were reset and may still be heard of.
const RESET_STREAMS: usize = 1024;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Sends exchanges over a connection that others use too.
#[derive(Clone)]
pub struct Sender {
    requests: SendRequest<Bytes>,
    shared: Rc<Shared>,
}

struct Shared {
    closed: Cell<bool>,
    /// Each exchange under way has a copy.
    under_way: Rc<()>,
}

/// Copies of [`Shared::under_way`] when no exchange is under way: its own, and the driver's.
const QUIET: usize = 2;

/// No answer came.
pub struct Unanswered {
    pub error: h2::Error,
    /// The request, where nothing of it was sent.
    pub unsent: Option<Request<RequestBody>>,
}

impl From<h2::Error> for Unanswered {
    fn from(error: h2::Error) -> Self {
        Self {
            error,
            unsent: None,
        }
    }
}

/// Begins HTTP/2 on a connection, and carries it on until it ends or nobody needs it any more.
/// `pings` asks a silent peer whether it is still there: not every application likes that.
///
/// # Errors
/// When the preface cannot be written.
pub async fn connect(stream: Stream, pings: bool) -> Result<Sender, h2::Error> {
    let stream = Batched::new(stream);
    let (requests, mut connection) = builder().handshake(stream.clone()).await?;
    let shared = Rc::new(Shared {
        closed: Cell::new(false),
        under_way: Rc::default(),
    });
    let keep_alive = pings
        .then(|| connection.ping_pong())
        .flatten()
        .map(|pings| KeepAlive::new(pings, PING_EVERY, PING_PATIENCE));
    let end = Closing(shared.clone());
    let under_way = shared.under_way.clone();
    let driver = drive(connection, keep_alive, under_way);
    let driver = stream.flushed(driver);
    tokio::task::spawn_local(async move {
        let _end = end;
        // The exchanges under way hear how it ended.
        if let Err(error) = driver.await {
            tracing::debug!(%error, "connection to an upstream ended");
        }
    });
    Ok(Sender { requests, shared })
}

/// Says that the connection has ended, however it did.
struct Closing(Rc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closed.set(true);
    }
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(FIRST_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS);
    builder
}

async fn drive(
    mut connection: Connection<Batched<Stream>, Bytes>,
    mut keep_alive: Option<KeepAlive>,
    under_way: Rc<()>,
) -> Result<(), h2::Error> {
    poll_fn(|cx| {
        if let Some(keep_alive) = &mut keep_alive {
            let busy = || Rc::strong_count(&under_way) > QUIET;
            if keep_alive.poll_lost(cx, busy).is_ready() {
                tracing::debug!("a peer does not answer pings any more");
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await
}

impl Sender {
    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Sends a request, and gives the head of its answer and the body as it comes. The request's
    /// body goes on by itself; dropped before there is an answer, the exchange is cancelled.
    ///
    /// # Errors
    /// When the connection is at its end, or the exchange fails before an answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Received>, Unanswered> {
        if let Err(error) = poll_fn(|cx| self.requests.poll_ready(cx)).await {
            let unsent = Some(request);
            return Err(Unanswered { error, unsent });
        }
        let under_way = self.shared.under_way.clone();
        let (mut head, body) = request.into_parts();
        let ends = body.is_end_stream();
        if !ends {
            say_length(&mut head.headers, &body);
        }
        let head = Request::from_parts(head, ());
        let (answer, stream) = self.requests.send_request(head, ends)?;
        let upload = if ends {
            None
        } else {
            Upload::start(Pipe::new(body, stream, Reason::CANCEL)).await
        };
        let response = answer.await?;
        upload.into_iter().for_each(Upload::finish);
        let (head, stream) = response.into_parts();
        let body = ReceivedBody::new(stream, &head.headers, Some(under_way));
        Ok(Response::from_parts(head, Received::H2(body)))
    }
}

/// A request's body that is still being sent, and is given up when this is dropped.
struct Upload(Option<AbortHandle>);

impl Upload {
    /// None, where there was nothing to wait for.
    async fn start(mut pipe: Pipe<RequestBody>) -> Option<Self> {
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut pipe).poll(cx))).await;
        match polled {
            Poll::Ready(sent) => {
                log(sent);
                None
            }
            Poll::Pending => {
                let task = tokio::task::spawn_local(async { log(pipe.await) });
                Some(Self(Some(task.abort_handle())))
            }
        }
    }

    /// Lets it go on though the answer has begun.
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The answer, or what comes in its place, says what a failure means.
fn log<E: std::fmt::Display>(sent: Result<(), E>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "a request's body was not sent whole");
    }
}
