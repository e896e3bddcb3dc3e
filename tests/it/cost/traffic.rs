//! Traffic of which every run is the same: one connection, one exchange at a time, and on either
//! side of the mesh each message written at once, so that it comes in as few pieces as it can.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Wire, wait::DEADLINE};

/// What is asked of a service.
pub trait Exchange {
    fn exchange(&mut self);
}

/// GET with the headers that clients send, on one connection; the answer has 1 KiB.
pub struct Http1(Wire);

const REQUEST: &[u8] = b"GET /items/17?page=2 HTTP/1.1\r\n\
    Host: app.test\r\n\
    User-Agent: cost/1.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip\r\n\
    X-Request-Id: 0b7e9c1e-5c3f-4a63-9d9b-2f1f6f0a4c11\r\n\r\n";

impl Http1 {
    pub fn connect(addr: SocketAddr) -> Self {
        Self(Wire::connect(addr))
    }
}

impl Exchange for Http1 {
    fn exchange(&mut self) {
        self.0.send(REQUEST);
        let response = self.0.response("GET");
        assert_eq!((response.status, response.body.len()), (200, BODY));
    }
}

const BODY: usize = 1024;

/// Answers whatever ends in an empty line. Ends with the process.
pub fn http1_origin() -> SocketAddr {
    let (listener, addr) = listen();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\n\
         Cache-Control: no-cache\r\nServer: cost\r\n\r\n"
    );
    let answer = [head.as_bytes(), &[b'x'; BODY]].concat();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || answer_all(stream, &answer));
        }
    });
    addr
}

fn answer_all(mut stream: TcpStream, answer: &[u8]) {
    let (mut chunk, mut head) = ([0; 4096], Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        head.extend_from_slice(&chunk[..n]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// Unary calls on one connection: a message of 64 bytes each way.
pub struct Grpc {
    runtime: Runtime,
    requests: h2::client::SendRequest<Bytes>,
}

/// A message with its prefix: not compressed, and its length.
const MESSAGE: &[u8] = &{
    let mut message = [b'x'; 5 + 64];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 64;
    message
};
const CONTENT_TYPE: &str = "application/grpc";

impl Grpc {
    pub fn connect(addr: SocketAddr) -> Self {
        let runtime = runtime();
        let requests = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(addr).await;
            let stream = stream.expect("the proxy listens");
            stream.set_nodelay(true).expect("an open connection");
            let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            // How it ends says nothing: exchanges fail where it ends too early.
            tokio::spawn(connection);
            requests
        });
        Self { runtime, requests }
    }

    async fn call(
        requests: h2::client::SendRequest<Bytes>,
    ) -> Result<(usize, HeaderMap), h2::Error> {
        let request = Request::post("http://app.test/shop.Carts/Get")
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::USER_AGENT, "grpc-cost/1.0")
            .header("grpc-timeout", "10S")
            .body(())
            .expect("a request");
        let mut requests = requests.ready().await?;
        let (response, mut upload) = requests.send_request(request, false)?;
        upload.send_data(Bytes::from_static(MESSAGE), true)?;
        let mut body = response.await?.into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            length += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        let trailers = body.trailers().await?;
        Ok((length, trailers.unwrap_or_default()))
    }
}

impl Exchange for Grpc {
    fn exchange(&mut self) {
        let call = Self::call(self.requests.clone());
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, call).await });
        let (length, trailers) = answer.expect("an answer in time").expect("an answer");
        assert_eq!(length, MESSAGE.len());
        assert_eq!(trailers["grpc-status"], "0");
    }
}

/// Answers each call with one message. Ends with the process.
pub fn grpc_origin() -> SocketAddr {
    let (listener, addr) = listen();
    listener.set_nonblocking(true).expect("a listener can be");
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    addr
}

/// Serves a connection until its peer ends it, in whatever way.
async fn serve(stream: tokio::net::TcpStream) -> Result<(), h2::Error> {
    // Without it an answer waits for the acknowledgement of the one before; it is only slower.
    let _ = stream.set_nodelay(true);
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(answer_call(request, respond));
    }
    Ok(())
}

async fn answer_call(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let response = Response::builder().header(header::CONTENT_TYPE, CONTENT_TYPE);
    let response = response.body(()).expect("a response");
    let mut body = respond.send_response(response, false)?;
    body.send_data(Bytes::from_static(MESSAGE), false)?;
    let status = (
        header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    );
    body.send_trailers(HeaderMap::from_iter([status]))
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has one");
    (listener, addr)
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}
