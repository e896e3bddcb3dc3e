//! What the last hop forwards to: HTTP servers whose answers are as long as the path says, servers
//! of opaque TCP that speak first, and a collector for the traces, which keeps nothing.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The largest answer.
pub const LARGE: usize = 64 * 1024;
static BYTES: [u8; LARGE] = [b'x'; LARGE];

/// Before each gRPC message: compressed or not, and its length.
pub const GRPC_PREFIX: usize = 5;
/// A message of a stream, with its prefix.
pub const MESSAGE: usize = GRPC_PREFIX + 1024;

/// Where they listen.
#[derive(Clone, Copy)]
pub struct Origins {
    pub http1: SocketAddr,
    pub http2: SocketAddr,
    /// Pours bytes as fast as they are taken.
    pub stream: SocketAddr,
    /// Says one byte.
    pub greeting: SocketAddr,
    pub collector: SocketAddr,
}

/// Serves all, on a thread of its own, until the process ends.
pub fn start() -> anyhow::Result<Origins> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listeners = [listen()?, listen()?, listen()?, listen()?, listen()?];
    let [http1, http2, stream, greeting, collector] = &listeners;
    let origins = Origins {
        http1: http1.local_addr()?,
        http2: http2.local_addr()?,
        stream: stream.local_addr()?,
        greeting: greeting.local_addr()?,
        collector: collector.local_addr()?,
    };
    let [http1, http2, stream, greeting, collector] = listeners;
    thread::Builder::new()
        .name("origin".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::join!(
                    accept(http1, serve_http1),
                    accept(http2, serve_http2),
                    accept(stream, pour),
                    accept(greeting, greet),
                    accept(collector, serve_http1),
                );
            });
        })?;
    Ok(origins)
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: fn(TcpStream) -> F,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            Err(error) => {
                eprintln!("origin: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

// A proxy may close its idle connections however it likes: how serving ends says nothing.

async fn serve_http1(stream: TcpStream) {
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    let _ = served.await;
}

async fn serve_http2(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(2048)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
}

/// Takes whatever is asked. The path ends in the number of bytes that the answer has (none:
/// nothing); in gRPC they are one message, or there are messages without end.
async fn answer(request: Request<Incoming>) -> hyper::Result<Response<Answer>> {
    let last = request.uri().path().rsplit('/').next();
    let length: Option<usize> = last.and_then(|length| length.parse().ok());
    let body = &BYTES[..length.unwrap_or_default().min(LARGE)];
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value == "application/grpc");
    let answer = match (is_grpc, length) {
        (false, _) => Answer {
            frame: Bytes::from_static(body),
            left: 1,
            trailers: false,
        },
        (true, Some(_)) => Answer {
            frame: message(body),
            left: 1,
            trailers: true,
        },
        (true, None) => Answer {
            frame: message(&BYTES[..MESSAGE - GRPC_PREFIX]),
            left: u64::MAX,
            trailers: true,
        },
    };
    request.into_body().collect().await?;
    let mut response = Response::new(answer);
    if is_grpc {
        let value = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    Ok(response)
}

fn message(body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(GRPC_PREFIX + body.len());
    message.put_u8(0);
    message.put_u32(body.len() as u32);
    message.put(body);
    message.freeze()
}

/// The same frame some times, and gRPC's trailers where it is that.
struct Answer {
    frame: Bytes,
    left: u64,
    trailers: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.frame.clone()))));
        }
        let trailers = std::mem::take(&mut self.trailers).then(|| {
            let status = (
                header::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            );
            Ok(Frame::trailers(HeaderMap::from_iter([status])))
        });
        Poll::Ready(trailers)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && !self.trailers
    }

    fn size_hint(&self) -> SizeHint {
        match self.trailers {
            true => SizeHint::default(),
            false => SizeHint::with_exact(self.frame.len() as u64 * self.left),
        }
    }
}

async fn pour(mut stream: TcpStream) {
    while stream.write_all(&BYTES).await.is_ok() {}
}

async fn greet(mut stream: TcpStream) {
    if stream.write_all(b"x").await.is_ok() {
        let _ = stream.read(&mut [0]).await;
    }
}
