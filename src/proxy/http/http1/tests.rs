use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
    task::LocalSet,
};

use super::{
    Client, Connection, Head, Home, ReplyBody, RequestBody, ResponseBody, Spelling,
    patience::{Doing, Next},
    proto::Error,
    serving::{Ended, Upkeep, carry},
};
use crate::proxy::http::body::BoxError;

/// More than any test writes at a time.
const ROOM: usize = 1 << 20;

/// A body whose frames are sent by the test.
struct Fed {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>,
    length: Option<u64>,
    /// Frames that were asked for and there.
    taken: Rc<Cell<usize>>,
}

type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

impl Fed {
    fn new() -> (Feed, Self) {
        let (feed, frames) = mpsc::unbounded_channel();
        let fed = Self {
            frames,
            length: None,
            taken: Rc::default(),
        };
        (feed, fed)
    }

    fn whole(text: &'static str) -> Self {
        let (feed, mut fed) = Self::new();
        if !text.is_empty() {
            feed.send(data(text)).expect("its reader is there");
        }
        fed.length = Some(text.len() as u64);
        fed
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.frames.poll_recv(cx);
        self.taken
            .update(|taken| taken + usize::from(frame.is_ready()));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl ReplyBody for Fed {
    fn spelling(&self) -> Option<&Spelling> {
        None
    }
}

/// Says what it is told to, once.
struct Told(Option<Next>);

impl Upkeep for Told {
    fn poll(&mut self, _: &mut Context<'_>, doing: Doing) -> Poll<Next> {
        match self.0 {
            Some(next) if !doing.exchanging => Poll::Ready(next),
            _ => Poll::Pending,
        }
    }

    fn is_over(&self) -> bool {
        false
    }
}

/// A client's end of a connection that is served by `answer`, and how that ended.
fn served<A, F>(answer: A) -> (DuplexStream, tokio::task::JoinHandle<Ended<DuplexStream>>)
where
    A: FnMut(Request<RequestBody>, Client<DuplexStream>) -> F + 'static,
    F: Future<Output = Response<Fed>> + 'static,
{
    let (near, far) = duplex(ROOM);
    let mut answer = answer;
    let ended = tokio::task::spawn_local(async move {
        let boxed = |request, client| Box::pin(answer(request, client));
        carry(far, boxed, &mut Told(None)).await
    });
    (near, ended)
}

async fn local<T>(work: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(work).await
}

/// Reads until this was read, and nothing before or behind it.
async fn expect(near: &mut DuplexStream, text: &str) {
    let mut read = vec![0; text.len()];
    near.read_exact(&mut read).await.expect("all of it");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

async fn rest(near: &mut DuplexStream) -> String {
    let mut read = String::new();
    near.read_to_string(&mut read).await.expect("text");
    read
}

/// Answers with the request's target, and behind it its body.
async fn echo(request: Request<RequestBody>) -> Response<Fed> {
    let target = request.uri().to_string();
    let body = request.into_body().collect().await.expect("a whole body");
    let text = target + &String::from_utf8_lossy(&body.to_bytes());
    Response::new(Fed::whole(text.leak()))
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    local(async {
        let (mut near, _ended) = served(|request, _| echo(request));
        near.write_all(
            b"GET /a HTTP/1.1\r\n\r\n\
              POST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\n+c\
              \r\nPOST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n+e\r\n0\r\n\r\n\
              GET /f HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
        for (text, more) in [
            ("/a", ""),
            ("/b+c", ""),
            ("/d+e", ""),
            ("/f", "connection: close\r\n"),
        ] {
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{more}\r\n{text}");
            expect(&mut near, &answer).await;
        }
        assert_eq!(rest(&mut near).await, "");
    })
    .await;
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_when_somebody_wants_it() {
    local(async {
        let head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let (mut near, _ended) = served(|request, _| echo(request));
        near.write_all(head).await.unwrap();
        expect(&mut near, "HTTP/1.1 100 Continue\r\n\r\n").await;
        near.write_all(b"+a").await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/+a";
        expect(&mut near, answer).await;
        // Whoever sends it at once is not asked.
        near.write_all(&[head, &b"+a"[..]].concat()).await.unwrap();
        expect(&mut near, answer).await;

        let (mut near, ended) = served(|_, _| async { Response::new(Fed::whole("no")) });
        near.write_all(head).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        expect(&mut near, answer).await;
        assert!(
            matches!(ended.await.unwrap(), Ended::Unread(_)),
            "it may come or not"
        );
    })
    .await;
}

#[tokio::test]
async fn a_body_that_nobody_takes_is_read_past_if_it_is_not_too_long() {
    local(async {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno";
        let (mut near, ended) = served(|_, _| async { Response::new(Fed::whole("no")) });
        near.write_all(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
            .await
            .unwrap();
        expect(&mut near, answer).await;
        near.write_all(&[b'x'; 100_000]).await.unwrap();
        near.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
            .await
            .unwrap();
        expect(&mut near, answer).await;
        near.write_all(&[b'x'; 500_000]).await.unwrap();
        assert!(matches!(ended.await.unwrap(), Ended::Unread(_)));
    })
    .await;
}

/// An upload that goes on behind its answer is not to be cut off.
#[tokio::test]
async fn a_body_that_somebody_takes_may_come_after_the_answer() {
    local(async {
        let (taken, mut bodies) = mpsc::unbounded_channel();
        let (mut near, _ended) = served(move |request, _| {
            let _ = taken.send(request.into_body());
            async { Response::new(Fed::whole("yes")) }
        });
        near.write_all(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
            .await
            .unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        expect(&mut near, answer).await;
        near.write_all(b"cdGET / HTTP/1.1\r\n\r\n").await.unwrap();
        let body = bodies.recv().await.unwrap().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "abcd");
        expect(&mut near, answer).await;
    })
    .await;
}

/// Is told of its end.
struct Noticed(Rc<Cell<bool>>);

impl Drop for Noticed {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[tokio::test]
async fn a_client_that_closes_ends_its_request() {
    local(async {
        let dropped = Rc::new(Cell::new(false));
        let noticed = dropped.clone();
        let (mut near, ended) = served(move |_, _| {
            let noticed = Noticed(noticed.clone());
            async move {
                let _noticed = noticed;
                std::future::pending().await
            }
        });
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        tokio::task::yield_now().await;
        assert!(!dropped.get());
        drop(near);
        assert!(matches!(ended.await.unwrap(), Ended::Closed));
        assert!(dropped.get());
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_in_the_middle_of_its_body_breaks_it_off() {
    local(async {
        let (said, mut errors) = mpsc::unbounded_channel();
        let (mut near, _ended) = served(move |request, _| {
            let said = said.clone();
            async move {
                let _ = said.send(request.into_body().collect().await.map(|_| ()));
                Response::new(Fed::whole("too late"))
            }
        });
        near.write_all(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab")
            .await
            .unwrap();
        drop(near);
        let error = errors.recv().await.unwrap();
        assert!(matches!(error, Err(Error::Incomplete)), "{error:?}");
    })
    .await;
}

/// It may be a task of its own, which nothing else would end.
#[tokio::test]
async fn whoever_takes_a_body_hears_of_its_connections_end() {
    local(async {
        let (taken, mut bodies) = mpsc::unbounded_channel();
        let (mut near, ended) = served(move |request, _| {
            let _ = taken.send(request.into_body());
            std::future::pending()
        });
        let begun = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab";
        near.write_all(begun).await.unwrap();
        let body = bodies.recv().await.unwrap();
        ended.abort();
        let taken = body.collect().await;
        assert!(matches!(taken, Err(Error::Incomplete)));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_the_rest_of_its_answer() {
    local(async {
        let (mut near, far) = duplex(100);
        tokio::task::spawn_local(async move {
            let answer = |_, _: Client<_>| {
                let text = "x".repeat(1000).leak();
                std::future::ready(Response::new(Fed::whole(text)))
            };
            carry(far, answer, &mut Told(None)).await
        });
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        near.read_u8().await.unwrap();
        near.shutdown().await.unwrap();
        let answer = rest(&mut near).await;
        assert!(
            answer.len() > 1000 && answer.ends_with('x'),
            "{}",
            answer.len()
        );
    })
    .await;
}

#[tokio::test]
async fn after_101_the_connection_is_the_upgrades() {
    local(async {
        let (mut near, _ended) = served(|_, client| async move {
            let upgrade = client.upgrade.expect("it was asked for");
            tokio::task::spawn_local(async move {
                let mut stream = upgrade.await.expect("the stream");
                let mut read = [0; 3];
                stream.read_exact(&mut read).await.expect("what was sent");
                stream.write_all(&read).await.expect("it is open");
            });
            let mut response = Response::new(Fed::whole(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
        });
        near.write_all(b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nab")
            .await
            .unwrap();
        expect(&mut near, "HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        near.write_all(b"c").await.unwrap();
        assert_eq!(rest(&mut near).await, "abc");
    })
    .await;
}

/// What its client takes for HTTP the proxy must not, or the other way round.
#[tokio::test]
async fn after_a_101_that_nobody_asked_for_the_connection_ends() {
    local(async {
        let (mut near, ended) = served(|_, _| async {
            let mut response = Response::new(Fed::whole(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
        });
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        expect(&mut near, "HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        assert!(matches!(ended.await.unwrap(), Ended::Closed));
    })
    .await;
}

#[tokio::test]
async fn trailers_are_for_those_who_say_that_they_read_them() {
    for (field, trailer) in [("TE: trailers\r\n", "x: 1\r\n"), ("", "")] {
        local(async {
            let (mut near, _ended) = served(|_, _| async {
                let (feed, body) = Fed::new();
                let mut trailers = HeaderMap::new();
                trailers.insert("x", HeaderValue::from_static("1"));
                feed.send(data("a")).unwrap();
                feed.send(Ok(Frame::trailers(trailers))).unwrap();
                Response::new(body)
            });
            let request = format!("GET / HTTP/1.1\r\n{field}\r\n");
            near.write_all(request.as_bytes()).await.unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{trailer}\r\n"
            );
            expect(&mut near, &answer).await;
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    for (version, cut_off) in [("1.1", false), ("1.0", true)] {
        local(async {
            let (mut near, ended) = served(|_, _| async {
                let (feed, body) = Fed::new();
                feed.send(data("half")).unwrap();
                feed.send(Err("broken".into())).unwrap();
                Response::new(body)
            });
            let request = format!("GET / HTTP/{version}\r\n\r\n");
            near.write_all(request.as_bytes()).await.unwrap();
            let ended = ended.await.unwrap();
            assert_eq!(matches!(ended, Ended::CutOff(_)), cut_off, "{version}");
            drop(ended);
            let sent = rest(&mut near).await;
            assert!(
                sent.contains("half") && !sent.ends_with("0\r\n\r\n"),
                "{sent}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn answers_without_a_body_end_at_their_head() {
    local(async {
        let (mut near, _ended) = served(|request, _| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let mut response = Response::new(Fed::whole("never sent"));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let length = HeaderValue::from_static("10");
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length);
            response
        });
        for (method, status, length) in [
            ("HEAD", "200 OK", "content-length: 10\r\n"),
            ("GET", "304 Not Modified", "content-length: 10\r\n"),
            ("GET", "204 No Content", ""),
        ] {
            let request = format!("{method} /{} HTTP/1.1\r\n\r\n", &status[..3]);
            near.write_all(request.as_bytes()).await.unwrap();
            expect(&mut near, &format!("HTTP/1.1 {status}\r\n{length}\r\n")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_can_read() {
    local(async {
        let whole = Rc::new(Cell::new(true));
        let is_whole = whole.clone();
        let (mut near, _ended) = served(move |_, _| {
            let body = match is_whole.get() {
                true => Fed::whole("abc"),
                false => {
                    let (feed, body) = Fed::new();
                    feed.send(data("abc")).unwrap();
                    body
                }
            };
            async { Response::new(body) }
        });
        let request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        near.write_all(request).await.unwrap();
        let head = "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n";
        expect(&mut near, &format!("{head}abc")).await;
        whole.set(false);
        near.write_all(request).await.unwrap();
        let answer = "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nabc";
        assert_eq!(rest(&mut near).await, answer, "it ends with the connection");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection_with_the_reason() {
    local(async {
        for (bytes, too_large) in [
            ("GET / HTTP/1.1\r\nno colon\r\n".to_owned(), false),
            (format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000)), true),
        ] {
            let (mut near, ended) = served(|request, _| echo(request));
            near.write_all(bytes.as_bytes()).await.unwrap();
            let Ended::Refused(error, _) = ended.await.unwrap() else {
                panic!("it was served");
            };
            assert_eq!(matches!(error, Error::HeadTooLarge), too_large, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_rests_gives_its_stream_back() {
    let (_near, far) = duplex(ROOM);
    let answer = |request, _| Box::pin(echo(request));
    let ended = carry(far, answer, &mut Told(Some(Next::Park))).await;
    assert!(matches!(ended, Ended::Parked(_)));
}

#[tokio::test]
async fn of_an_answer_that_its_client_does_not_read_little_is_taken() {
    local(async {
        let (mut near, far) = duplex(1000);
        let (feed, body) = Fed::new();
        for _ in 0..100 {
            let part = Bytes::from(vec![b'x'; 10_000]);
            feed.send(Ok(Frame::data(part))).unwrap();
        }
        drop(feed);
        let taken = body.taken.clone();
        let mut body = Some(body);
        tokio::task::spawn_local(async move {
            let answer = |_, _: Client<_>| {
                let body = body.take().expect("one request");
                std::future::ready(Response::new(body))
            };
            carry(far, answer, &mut Told(None)).await
        });
        let request = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        near.write_all(request).await.unwrap();
        near.read_u8().await.unwrap();
        assert!((1..10).contains(&taken.get()), "{} parts", taken.get());
        let sent = rest(&mut near).await;
        assert!(sent.len() > 1_000_000 && sent.ends_with("0\r\n\r\n"));
    })
    .await;
}

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
        let headers = HeaderMap::new();
        let head = Head {
            method: &method,
            target: "/",
            version: Version::HTTP_11,
            headers: &headers,
            without: &[],
            with: None,
            spelling: None,
        };
        connection.send(head, body, Some(self.clone())).await
    }

    fn idle(&self) -> usize {
        self.0.borrow().len()
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
        let (mut near, connection, pool) = dialled();
        near.write_all(answer.as_bytes()).await.unwrap();
        let response = pool.send(connection, Method::GET, Fed::whole("")).await;
        let body = response.unwrap().into_body().collect().await.unwrap();
        assert_eq!(pool.idle(), usize::from(reusable), "{answer:?}");
        assert!(body.to_bytes().is_empty() || answer.contains("ok"));
        expect(&mut near, "GET / HTTP/1.1\r\n\r\n").await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_goes_with_its_connection_unless_it_is_there() {
    for (rest, reusable) in [("ok", true), ("o", false)] {
        let (mut near, connection, pool) = dialled();
        let answer = format!("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{rest}");
        near.write_all(answer.as_bytes()).await.unwrap();
        let response = pool.send(connection, Method::GET, Fed::whole("")).await;
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
        let (mut near, connection, pool) = dialled();
        near.write_all(bytes.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        let sent = pool.send(connection, Method::GET, Fed::whole("")).await;
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
        let (mut near, connection, pool) = dialled();
        near.write_all(bytes.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        let sent = pool.send(connection, Method::GET, Fed::whole("")).await;
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
        let (mut near, connection, pool) = dialled();
        near.write_all(bytes.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        let response = pool.send(connection, Method::GET, Fed::whole("")).await;
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
    let (mut near, connection, pool) = dialled();
    near.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nab")
        .await
        .unwrap();
    let response = pool.send(connection, Method::GET, Fed::whole("")).await;
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
