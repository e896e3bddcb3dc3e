//! Both ends against the h2 crate, which reads and writes the protocol in its own way, in memory.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{DuplexStream, duplex},
    task::{LocalSet, spawn_local},
};

use super::{
    client::{self, Head, Sender},
    driver::Driver,
    handle::{Reader, Writer},
    pipe::Pipe,
    proto::{Accepted, Connection, Reason},
    server,
};
use crate::proxy::http::{ahead::Untold, body::BoxError};

/// A message's body.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        let frame = piece.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }
}

impl Parts {
    fn whole(&self) -> Vec<u8> {
        self.pieces.iter().flatten().copied().collect()
    }
}

/// What came of a body.
async fn read<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
) -> Result<(Vec<u8>, Option<HeaderMap>), B::Error> {
    let (mut whole, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((whole, trailers))
}

/// h2's way of the same.
async fn read_h2(mut body: h2::RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    (whole, body.trailers().await.unwrap())
}

async fn send_h2(mut stream: h2::SendStream<Bytes>, body: Parts) {
    for piece in body.pieces {
        stream.send_data(piece, false).unwrap();
    }
    match body.trailers {
        Some(trailers) => stream.send_trailers(trailers).unwrap(),
        None => stream.send_data(Bytes::new(), true).unwrap(),
    }
}

/// A request and its answer.
#[derive(Clone, Debug)]
struct Exchange {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Parts,
    status: StatusCode,
    answer_headers: HeaderMap,
    answer: Parts,
}

#[derive(Clone, Debug)]
struct Setting {
    window: u32,
    connection_window: u32,
    streams: u32,
    /// Of the network between the two, in bytes.
    room: usize,
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let names = prop_oneof![
        Just("accept".to_owned()),
        Just("cookie".to_owned()),
        Just("authorization".to_owned()),
        Just("x-request-id".to_owned()),
        "x-[a-c]{1,2}",
    ];
    let values = prop_oneof!["[a-b]?", "[!-~]{1,40}", Just("v".repeat(9000))];
    vec((names, values), 0..7).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(name).unwrap();
            map.append(name, HeaderValue::try_from(value).unwrap());
        }
        map
    })
}

fn body() -> impl Strategy<Value = Parts> {
    let lengths = prop_oneof![0_usize..3, 100_usize..2000, 20_000_usize..100_000];
    let pieces = vec(
        lengths.prop_map(|length| Bytes::from(vec![length as u8; length])),
        0..5,
    );
    (pieces, proptest::option::of(headers())).prop_map(|(pieces, trailers)| Parts {
        pieces: pieces.into(),
        trailers,
    })
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let method = prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::PUT)];
    let request = (method, "/[a-c]{0,3}(\\?[a-z]{1,4})?", headers(), body());
    let status = (200_u16..600).prop_filter("no body", |status| !matches!(status, 204 | 304));
    (request, status, headers(), body()).prop_map(|(request, status, answer_headers, answer)| {
        let (method, path, headers, body) = request;
        Exchange {
            method,
            path,
            headers,
            body,
            status: StatusCode::from_u16(status).unwrap(),
            answer_headers,
            answer,
        }
    })
}

fn setting() -> impl Strategy<Value = Setting> {
    let window = prop_oneof![1_u32..100, 10_000_u32..100_000];
    let of_connection = 65_535_u32..100_000;
    (
        window,
        of_connection,
        1_u32..5,
        prop_oneof![200_usize..1000, Just(1 << 16)],
    )
        .prop_map(|(window, connection_window, streams, room)| Setting {
            window,
            connection_window,
            streams,
            room,
        })
}

/// The same exchange for both ends: the number of it is in a header.
fn number(headers: &HeaderMap) -> usize {
    headers["number"].to_str().unwrap().parse().unwrap()
}

fn numbered(headers: &HeaderMap, number: usize) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert("number", number.into());
    headers
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    // Nothing here waits for time: whatever does, waits for ever.
    let test = async { tokio::time::timeout(Duration::from_secs(3600), test).await };
    LocalSet::new().block_on(&runtime, test).expect("an end");
}

async fn h2_server(stream: DuplexStream, setting: Setting, exchanges: Rc<Vec<Exchange>>) {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(setting.window)
        .initial_connection_window_size(setting.connection_window)
        .max_concurrent_streams(setting.streams)
        .handshake(stream)
        .await
        .unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let exchanges = exchanges.clone();
        spawn_local(async move {
            let (head, body) = request.into_parts();
            let exchange = &exchanges[number(&head.headers)];
            assert_eq!(head.method, exchange.method);
            assert_eq!(head.uri.path_and_query().unwrap().as_str(), exchange.path);
            let mut sent = head.headers;
            sent.remove("number");
            sent.remove("content-length");
            assert_eq!(sent, exchange.headers);
            let (whole, trailers) = read_h2(body).await;
            assert_eq!(whole, exchange.body.whole());
            assert_eq!(trailers, exchange.body.trailers);
            let mut response = Response::new(());
            *response.status_mut() = exchange.status;
            *response.headers_mut() = exchange.answer_headers.clone();
            let stream = respond.send_response(response, false).unwrap();
            send_h2(stream, exchange.answer.clone()).await;
        });
    }
}

async fn our_exchange(sender: Sender, exchange: Exchange, number: usize) {
    let headers = numbered(&exchange.headers, number);
    let head = Head {
        method: &exchange.method,
        authority: "app.test",
        path: &exchange.path,
        headers: &headers,
        without: &[],
        with: None,
    };
    let answer = sender.send(head, exchange.body.clone(), &Untold).await;
    let answer = answer.map_err(|unanswered| unanswered.error).unwrap();
    assert_eq!(answer.status(), exchange.status);
    assert_eq!(*answer.headers(), exchange.answer_headers);
    let (whole, trailers) = read(answer.into_body()).await.unwrap();
    assert_eq!(whole, exchange.answer.whole());
    assert_eq!(trailers, exchange.answer.trailers);
}

async fn our_server(stream: DuplexStream, exchanges: Rc<Vec<Exchange>>) {
    let mut driver = Driver::new(stream, Connection::new(server::config(false)));
    let connection = driver.connection().clone();
    let served = poll_fn(|cx| {
        driver.poll(cx, |Accepted { key, head }| {
            let reader = Reader::new(connection.clone(), key);
            let writer = Writer::new(connection.clone(), key);
            let exchanges = exchanges.clone();
            spawn_local(async move {
                let exchange = &exchanges[number(&head.headers)];
                assert_eq!(head.method, exchange.method);
                assert_eq!(head.uri.path_and_query().unwrap().as_str(), exchange.path);
                let body = super::ReceivedBody::new(reader, &head.headers);
                let mut sent = head.headers;
                sent.remove("number");
                assert_eq!(sent, exchange.headers);
                let (whole, trailers) = read(body).await.unwrap();
                assert_eq!(whole, exchange.body.whole());
                assert_eq!(trailers, exchange.body.trailers);
                let (body, ends) = (exchange.answer.clone(), exchange.answer.is_end_stream());
                writer
                    .respond(exchange.status, &exchange.answer_headers, ends)
                    .unwrap();
                if !ends {
                    Pipe::new(body, writer, Reason::INTERNAL_ERROR)
                        .await
                        .unwrap();
                }
            });
        })
    });
    served.await.unwrap();
}

async fn h2_exchange(requests: h2::client::SendRequest<Bytes>, exchange: Exchange, number: usize) {
    let mut requests = requests.ready().await.unwrap();
    let uri = format!("http://app.test{}", exchange.path);
    let mut request = Request::builder()
        .method(exchange.method)
        .uri(uri)
        .body(())
        .unwrap();
    *request.headers_mut() = numbered(&exchange.headers, number);
    let (answer, stream) = requests.send_request(request, false).unwrap();
    send_h2(stream, exchange.body).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), exchange.status);
    assert_eq!(*answer.headers(), exchange.answer_headers);
    let (whole, trailers) = read_h2(answer.into_body()).await;
    assert_eq!(whole, exchange.answer.whole());
    assert_eq!(trailers, exchange.answer.trailers);
}

async fn all<F: Future<Output = ()> + 'static>(exchanges: impl Iterator<Item = F>) {
    let tasks: Vec<_> = exchanges.map(spawn_local).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_our_client_sends_h2_reads(
        exchanges in vec(exchange(), 1..8),
        setting in setting(),
    ) {
        run(async {
            let (near, far) = duplex(setting.room);
            let shared = Rc::new(exchanges.clone());
            let serving = spawn_local(h2_server(far, setting, shared));
            let sender = client::connect(near, false).await.unwrap();
            let numbered = exchanges.into_iter().enumerate();
            all(numbered.map(|(number, it)| our_exchange(sender.clone(), it, number))).await;
            // Nobody needs it any more.
            drop(sender);
            serving.await.unwrap();
        });
    }

    #[test]
    fn what_h2s_client_sends_our_server_reads(
        exchanges in vec(exchange(), 1..8),
        setting in setting(),
    ) {
        run(async {
            let (near, far) = duplex(setting.room);
            let serving = spawn_local(our_server(far, Rc::new(exchanges.clone())));
            let (requests, connection) = h2::client::Builder::new()
                .initial_window_size(setting.window)
                .initial_connection_window_size(setting.connection_window)
                .handshake::<_, Bytes>(near)
                .await
                .unwrap();
            spawn_local(async move { connection.await.unwrap() });
            let numbered = exchanges.into_iter().enumerate();
            all(numbered.map(|(number, it)| h2_exchange(requests.clone(), it, number))).await;
            drop(requests);
            serving.await.unwrap();
        });
    }

    #[test]
    fn both_ends_are_ours(exchanges in vec(exchange(), 1..8), room in 200_usize..100_000) {
        run(async {
            let (near, far) = duplex(room);
            let serving = spawn_local(our_server(far, Rc::new(exchanges.clone())));
            let sender = client::connect(near, false).await.unwrap();
            let numbered = exchanges.into_iter().enumerate();
            all(numbered.map(|(number, it)| our_exchange(sender.clone(), it, number))).await;
            drop(sender);
            serving.await.unwrap();
        });
    }
}
