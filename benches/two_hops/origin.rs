//! What the second hop forwards to: an HTTP server with a 1 KiB answer, and a server that streams;
//! and a collector for the traces, which keeps nothing.

use std::{net::SocketAddr, thread};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

static BODY: [u8; 1024] = [b'x'; 1024];
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Where they listen.
#[derive(Clone, Copy)]
pub struct Origins {
    pub http: SocketAddr,
    pub stream: SocketAddr,
    pub collector: SocketAddr,
}

/// Serves all, on a thread of its own, until the process ends.
pub fn start() -> anyhow::Result<Origins> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listen = || runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let (http, stream, collector) = (listen()?, listen()?, listen()?);
    let origins = Origins {
        http: http.local_addr()?,
        stream: stream.local_addr()?,
        collector: collector.local_addr()?,
    };
    thread::Builder::new()
        .name("origin".into())
        .spawn(move || {
            runtime.block_on(async {
                let answers = accept(http, |stream| answer(stream, &BODY));
                tokio::join!(
                    answers,
                    accept(stream, pour),
                    accept(collector, |stream| answer(stream, &[]))
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
            Err(error) => eprintln!("origin: {error}"),
        }
    }
}

/// Takes whatever is asked, and answers with `body`.
async fn answer(stream: TcpStream, body: &'static [u8]) {
    let service = service_fn(|request: Request<Incoming>| async {
        request.into_body().collect().await?;
        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(body))))
    });
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A proxy may close its idle connections however it likes.
    let _ = served.await;
}

/// Speaks first, and as much as the other side takes.
async fn pour(mut stream: TcpStream) {
    while stream.write_all(&CHUNK).await.is_ok() {}
}
