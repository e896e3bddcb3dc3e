use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::LazyLock,
    task::{Context, Poll},
};

use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

use super::{ROOM, expect, local, rest};
use crate::proxy::http::{
    ahead::{Ahead, Untold},
    fed::{Fed, data},
    http1::{
        Connection, Head, Home, ResponseBody,
        proto::{Error, Fields},
    },
};

/// Where connections go that can be used again.
#[derive(Default)]
struct Pool<S>(RefCell<Vec<Connection<S>>>);

impl<S> Home<S> for Pool<S> {
    fn keep(&self, connection: Connection<S>) {
        self.0.borrow_mut().push(connection);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Pool<S> {
    async fn send(
        self: &Rc<Self>,
        connection: Connection<S>,
        method: Method,
        body: Fed,
    ) -> Result<Response<ResponseBody<S>>, Error> {
        connection
            .send(head(&method), body, Some(self.clone()), &Untold)
            .await
    }

    fn idle(&self) -> usize {
        self.0.borrow().len()
    }
}

fn head(method: &Method) -> Head<'_> {
    static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    Head {
        method,
        target: "/",
        version: Version::HTTP_11,
        fields: Fields {
            headers: &NONE,
            without: &[],
            with: None,
            spelling: None,
        },
    }
}

fn dialled() -> (
    DuplexStream,
    Connection<DuplexStream>,
    Rc<Pool<DuplexStream>>,
) {
    let (near, far) = duplex(ROOM);
    (
        near,
        Connection::new(far),
        Rc::new(Pool(RefCell::default())),
    )
}

/// What becomes of a GET to which a peer answers with these bytes, and closes if `ends`; and where
/// its connection would go.
async fn answered(
    bytes: &str,
    ends: bool,
) -> (
    DuplexStream,
    Rc<Pool<DuplexStream>>,
    Result<Response<ResponseBody<DuplexStream>>, Error>,
) {
    let (mut near, connection, pool) = dialled();
    near.write_all(bytes.as_bytes()).await.unwrap();
    if ends {
        near.shutdown().await.unwrap();
    }
    let response = pool.send(connection, Method::GET, Fed::whole("")).await;
    (near, pool, response)
}

#[derive(Default)]
struct Heard(RefCell<Vec<(StatusCode, HeaderMap)>>);

impl Ahead for Heard {
    fn say(&self, status: StatusCode, headers: HeaderMap) {
        self.0.borrow_mut().push((status, headers));
    }
}

#[tokio::test]
async fn interim_answers_are_heard_in_order() {
    local(async {
        let (mut near, connection, _) = dialled();
        let answers = "HTTP/1.1 100 Continue\r\n\r\n\
                       HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                       HTTP/1.1 204 No Content\r\n\r\n";
        near.write_all(answers.as_bytes()).await.unwrap();
        let heard = Heard::default();
        let sent = connection.send(head(&Method::GET), Fed::whole(""), None, &heard);
        assert_eq!(sent.await.unwrap().status(), StatusCode::NO_CONTENT);
        let heard = heard.0.into_inner();
        let statuses: Vec<_> = heard.iter().map(|(status, _)| status.as_u16()).collect();
        assert_eq!(statuses, [100, 103]);
        assert_eq!(heard[1].1["link"], "</a>");
    })
    .await;
}

#[tokio::test]
async fn a_connection_goes_back_with_the_last_byte_of_its_answer() {
    for (answer, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
            true,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
            false,
        ),
    ] {
        let (mut near, pool, response) = answered(answer, false).await;
        let body = response.unwrap().into_body().collect().await.unwrap();
        assert_eq!(pool.idle(), usize::from(reusable), "{answer:?}");
        assert!(body.to_bytes().is_empty() || answer.contains("ok"));
        expect(&mut near, "GET / HTTP/1.1\r\n\r\n").await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_goes_with_its_connection_unless_it_is_there() {
    for (rest, reusable) in [("ok", true), ("o", false)] {
        let answer = format!("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{rest}");
        let (_near, pool, response) = answered(&answer, false).await;
        drop(response.unwrap());
        assert_eq!(pool.idle(), usize::from(reusable), "{rest}");
    }
}

#[tokio::test]
async fn a_request_says_how_long_its_body_is() {
    let (feed, chunked) = Fed::new();
    feed.send(data("abc")).unwrap();
    drop(feed);
    for (method, body, expected) in [
        (Method::GET, Fed::whole(""), "GET / HTTP/1.1\r\n\r\n"),
        (
            Method::POST,
            Fed::whole(""),
            "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            Method::GET,
            Fed::whole("abc"),
            "GET / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            Method::GET,
            chunked,
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
    ] {
        let (mut near, connection, pool) = dialled();
        near.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        pool.send(connection, method, body).await.unwrap();
        expect(&mut near, expected).await;
    }
}

#[tokio::test]
async fn an_upload_goes_on_while_its_answer_is_read_and_after_it() {
    local(async {
        let (mut near, connection, pool) = dialled();
        let (feed, body) = Fed::new();
        near.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        let response = pool.send(connection, Method::POST, body).await.unwrap();
        expect(
            &mut near,
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
        feed.send(data("a")).unwrap();
        expect(&mut near, "1\r\na\r\n").await;
        let answer = response.into_body().collect().await.unwrap();
        assert_eq!(answer.to_bytes(), "ok");
        assert_eq!(pool.idle(), 0, "the request is not all sent");
        feed.send(data("b")).unwrap();
        drop(feed);
        expect(&mut near, "1\r\nb\r\n0\r\n\r\n").await;
        tokio::task::yield_now().await;
        assert_eq!(pool.idle(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_takes_its_answer_with_it() {
    local(async {
        let (mut near, connection, pool) = dialled();
        let (feed, body) = Fed::new();
        near.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
            .await
            .unwrap();
        let response = pool.send(connection, Method::POST, body).await.unwrap();
        let mut answer = response.into_body();
        answer.frame().await.unwrap().unwrap();
        feed.send(Err("the client has gone".into())).unwrap();
        let failed = answer.frame().await.unwrap();
        assert!(matches!(failed, Err(Error::Incomplete)), "{failed:?}");
        let sent = rest(&mut near).await;
        assert!(!sent.ends_with("0\r\n\r\n"), "{sent}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_given_up_ends_its_upload() {
    local(async {
        let (mut near, connection, pool) = dialled();
        let (feed, body) = Fed::new();
        near.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
            .await
            .unwrap();
        drop(pool.send(connection, Method::POST, body).await.unwrap());
        rest(&mut near).await;
        feed.closed().await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_that_closed_or_spoke_is_gone() {
    let (near, mut connection, _pool) = dialled();
    assert!(!connection.is_gone());
    drop(near);
    assert!(connection.is_gone());
    let (mut near, mut connection, _pool) = dialled();
    near.write_all(b"HTTP/1.1 408 Too slow\r\n\r\n")
        .await
        .unwrap();
    assert!(connection.is_gone());
    assert!(connection.is_gone(), "and stays so");

    // Whatever else the task has done before.
    for _ in 0..1000 {
        let (near, mut connection, _pool) = dialled();
        drop(near);
        assert!(connection.is_gone());
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    for (bytes, breach) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\nConte", false),
        ("SSH-2.0-OpenSSH\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", true),
    ] {
        let (_near, _pool, sent) = answered(bytes, true).await;
        let error = sent.err().expect("no answer");
        assert_eq!(error.is_breach(), breach, "{bytes:?}: {error}");
    }
}

/// Of a request to which not a byte came back the peer may have seen nothing, and it can be sent
/// again.
#[tokio::test]
async fn a_connection_that_ends_before_its_answer_is_told_from_one_that_ends_in_it() {
    for (bytes, incomplete) in [
        ("", true),
        ("H", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
    ] {
        let (_near, _pool, sent) = answered(bytes, true).await;
        let error = sent.err().expect("no answer");
        assert_eq!(matches!(error, Error::Incomplete), incomplete, "{bytes:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_an_error() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    ] {
        let (_near, pool, response) = answered(bytes, true).await;
        let body = response.unwrap().into_body().collect().await;
        assert!(body.is_err(), "{bytes:?}");
        assert_eq!(pool.idle(), 0);
    }
}

/// Takes nothing that is written to it.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A server that refuses a large upload closes before it has read it.
#[tokio::test]
async fn an_answer_counts_though_its_request_could_not_be_sent() {
    let (mut near, far) = duplex(ROOM);
    let pool = Rc::new(Pool(RefCell::default()));
    near.write_all(b"HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    let connection = Connection::new(Deaf(far));
    let response = pool.send(connection, Method::POST, Fed::whole("abc")).await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "no");
    assert_eq!(pool.idle(), 0);

    let (near, far) = duplex(ROOM);
    drop(near);
    let connection = Connection::new(Deaf(far));
    let sent = pool.send(connection, Method::POST, Fed::whole("abc")).await;
    assert!(matches!(sent, Err(Error::Incomplete)));
}

#[tokio::test]
async fn an_upgraded_connection_has_what_was_read_ahead() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\n\r\nab";
    let (mut near, pool, response) = answered(answer, false).await;
    let mut stream = response
        .unwrap()
        .into_body()
        .into_upgraded()
        .expect("a stream");
    near.write_all(b"c").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "abc");
    assert_eq!(pool.idle(), 0);
}
