use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

use super::{ROOM, expect, local, rest};
use crate::proxy::http::{
    ahead::Ahead,
    fed::{Fed, data},
    http1::{
        Client, RequestBody,
        patience::{Doing, Next},
        proto::Error,
        serving::{Ended, Upkeep, carry},
    },
};

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

/// One of HTTP/1.0 would take them for the answer.
#[tokio::test]
async fn a_client_of_http_1_1_gets_interim_answers_at_once() {
    local(async {
        let (go, gone) = tokio::sync::watch::channel(false);
        let (mut near, _ended) = served(move |_, client| {
            let mut gone = gone.clone();
            async move {
                let link = HeaderValue::from_static("</a>; rel=preload");
                let headers = HeaderMap::from_iter([(header::LINK, link)]);
                for status in [StatusCode::PROCESSING, StatusCode::EARLY_HINTS] {
                    client.early.say(status, headers.clone());
                }
                gone.wait_for(|gone| *gone).await.expect("the test goes on");
                Response::new(Fed::whole("ok"))
            }
        });
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let link = "link: </a>; rel=preload\r\n\r\n";
        expect(&mut near, &format!("HTTP/1.1 102 Processing\r\n{link}")).await;
        expect(&mut near, &format!("HTTP/1.1 103 Early Hints\r\n{link}")).await;
        go.send(true).unwrap();
        expect(&mut near, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        near.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let answer = "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        assert_eq!(rest(&mut near).await, answer);
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
