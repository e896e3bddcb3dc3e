//! The client's side: one connection, and a way to send exchanges over it.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, header};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::AbortHandle,
};

use super::{
    CONNECTION_WINDOW, STREAM_WINDOW,
    body::ReceivedBody,
    driver::{Driver, Shared},
    handle::{Reader, Writer},
    keep_alive::KeepAlive,
    pipe::Pipe,
    proto::{Config, Connection, Error, Key, Reason, RequestHead, Role},
    unsaid_length,
};
use crate::{
    host,
    proxy::http::{ahead::Ahead, body::BoxError, pool::MAX_HEADER_LIST, received::Received},
};

/// Exchanges that a peer is trusted with before its SETTINGS have come.
const FIRST_STREAMS: u32 = 100;
/// Streams that may end with an error of the peer's in a second before the connection is given up:
/// in its whole life there may be any number of them.
const ERRORS: u32 = 1024;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A request's head as it is sent: what of it is known elsewhere is only looked at.
pub struct Head<'a> {
    pub method: &'a Method,
    pub authority: &'a str,
    /// With its query.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    /// Of the headers, those that are not sent.
    pub without: &'a [HeaderName],
    /// Sent beside the headers.
    pub with: Option<(&'a HeaderName, &'a HeaderValue)>,
}

/// Sends exchanges over a connection that others use too.
#[derive(Clone)]
pub struct Sender(Rc<Handle>);

/// Dropped with the last sender.
struct Handle {
    connection: Shared,
    places: Rc<Notify>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.connection.borrow_mut().abandon();
    }
}

/// No answer came.
pub struct Unanswered<B> {
    pub error: Error,
    /// The request's body, where nothing of the request was sent.
    pub unsent: Option<B>,
}

impl<B> From<Error> for Unanswered<B> {
    fn from(error: Error) -> Self {
        Self {
            error,
            unsent: None,
        }
    }
}

pub(super) fn config() -> Config {
    Config {
        role: Role::Client,
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        max_streams: 0,
        first_streams: FIRST_STREAMS,
        max_header_list: MAX_HEADER_LIST,
        resets: 0,
        errors: ERRORS,
        clock: host::now,
    }
}

/// Begins HTTP/2 on a connection, and carries it on until it ends or nobody needs it any more.
/// `pings` asks a silent peer whether it is still there: not every application likes that.
///
/// # Errors
/// When the preface cannot be written.
pub async fn connect<S>(stream: S, pings: bool) -> Result<Sender, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut driver = Driver::new(stream, Connection::new(config()));
    poll_fn(|cx| driver.poll_flush(cx)).await?;
    let sender = Sender(Rc::new(Handle {
        connection: driver.connection().clone(),
        places: driver.places().clone(),
    }));
    let keep_alive = pings.then(|| KeepAlive::new(PING_EVERY, PING_PATIENCE));
    tokio::task::spawn_local(async move {
        // The exchanges under way hear how it ended.
        if let Err(error) = drive(driver, keep_alive).await {
            tracing::debug!(%error, "connection to an upstream ended");
        }
    });
    Ok(sender)
}

async fn drive<S>(mut driver: Driver<S>, mut keep_alive: Option<KeepAlive>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connection = driver.connection().clone();
    poll_fn(|cx| {
        if let Some(keep_alive) = &mut keep_alive {
            let busy = || connection.borrow().is_busy();
            if keep_alive.poll_lost(cx, &connection, busy).is_ready() {
                tracing::debug!("a peer does not answer pings any more");
                return Poll::Ready(Ok(()));
            }
        }
        // Nobody can send us requests.
        driver.poll(cx, |_| {})
    })
    .await
}

impl Sender {
    pub fn is_closed(&self) -> bool {
        self.0.connection.borrow().is_closed()
    }

    /// Sends a request, and gives the head of its answer and the body as it comes. The request's
    /// body goes on by itself; dropped before there is an answer, the exchange is cancelled.
    /// Interim answers go `ahead`.
    ///
    /// # Errors
    /// When the connection is at its end, or the exchange fails before an answer.
    pub async fn send<B>(
        &self,
        head: Head<'_>,
        body: B,
        ahead: &dyn Ahead,
    ) -> Result<Response<Received>, Unanswered<B>>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
        self.place().await;
        let connection = &self.0.connection;
        let ends = body.is_end_stream();
        let opened = head.open(&mut connection.borrow_mut(), &body);
        let key = match opened {
            Ok(key) => key,
            Err(error) => {
                let unsent = Some(body);
                return Err(Unanswered { error, unsent });
            }
        };
        let reader = Reader::new(connection.clone(), key);
        let upload = if ends {
            None
        } else {
            let writer = Writer::new(connection.clone(), key);
            Upload::start(Pipe::new(body, writer, Reason::CANCEL)).await
        };
        let (status, headers) = loop {
            match poll_fn(|cx| reader.poll_answer(cx)).await? {
                (status, headers) if status.is_informational() => ahead.say(status, headers),
                answer => break answer,
            }
        };
        upload.into_iter().for_each(Upload::finish);
        let body = ReceivedBody::new(reader, &headers);
        let mut response = Response::new(Received::H2(body));
        *response.version_mut() = Version::HTTP_2;
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Until a stream can be opened, or never can be again.
    async fn place(&self) {
        let connection = &self.0.connection;
        let waits = || {
            let connection = connection.borrow();
            !connection.is_closed() && !connection.has_place()
        };
        if !waits() {
            return;
        }
        let _waiting = Waiting::new(connection);
        while waits() {
            self.0.places.notified().await;
        }
    }
}

/// One who waits for a place.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(connection: &'a Shared) -> Self {
        connection.borrow_mut().waits_for_place(true);
        Self(connection)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().waits_for_place(false);
    }
}

impl Head<'_> {
    fn open<B: Body>(&self, connection: &mut Connection, body: &B) -> Result<Key, Error> {
        let length = unsaid_length(self.headers, body);
        let length = length
            .iter()
            .map(|length| (&header::CONTENT_LENGTH, length));
        let kept = |(name, _): &(&HeaderName, _)| !self.without.contains(name);
        let fields = self.headers.iter().filter(kept);
        let head = RequestHead {
            method: self.method,
            scheme: "http",
            authority: self.authority,
            path: self.path,
        };
        let fields = fields.chain(self.with).chain(length);
        connection.request(&head, fields, body.is_end_stream())
    }
}

/// A request's body that is still being sent, and is given up when this is dropped.
struct Upload(Option<AbortHandle>);

impl Upload {
    /// None, where there was nothing to wait for.
    async fn start<B>(mut pipe: Pipe<B>) -> Option<Self>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
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
