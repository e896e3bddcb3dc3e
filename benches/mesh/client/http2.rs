//! HTTP/2 with prior knowledge, and gRPC over it: one connection with one exchange at a time.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::origin::{GRPC_PREFIX, MESSAGE};

const STREAM_WINDOW: u32 = 1 << 20;

pub struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    body: usize,
    grpc: bool,
}

impl Http2 {
    /// Each of its requests asks for `body` bytes; in gRPC, for a message of that size.
    pub async fn connect(addr: SocketAddr, body: usize, grpc: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(4 * STREAM_WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async {
            // What breaks it is what a request reports.
            let _ = connection.await;
        });
        Ok(Self { sender, body, grpc })
    }

    pub async fn request(&mut self) -> anyhow::Result<()> {
        let path = self.body.to_string();
        let mut response = self.send(&path).await?;
        let (mut length, mut trailers) = (0, None);
        while let Some(frame) = response.body_mut().frame().await {
            match frame?.into_data() {
                Ok(data) => length += data.len(),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        if self.grpc {
            let trailers = trailers.or_else(|| Some(response.headers().clone()));
            let status = trailers.and_then(|all| all.get("grpc-status").cloned());
            ensure!(
                status.as_ref().is_some_and(|status| status == "0"),
                "ended with gRPC status {status:?}"
            );
            length -= GRPC_PREFIX.min(length);
        }
        ensure!(length == self.body, "an answer of {length} bytes");
        Ok(())
    }

    /// Begins a stream of messages from the server that ends when it is dropped.
    pub async fn messages(&mut self) -> anyhow::Result<Messages> {
        Ok(Messages {
            response: self.send("stream").await?,
            bytes: 0,
        })
    }

    async fn send(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let request = Request::builder().uri(format!("http://bench.shop/bench.Bench/{path}"));
        let request = if self.grpc {
            request
                .method("POST")
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                // An empty message.
                .body(Full::from(&[0; GRPC_PREFIX][..]))?
        } else {
            request.body(Full::default())?
        };
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == 200, "answered {}", response.status());
        Ok(response)
    }
}

/// A stream of messages under way.
pub struct Messages {
    response: Response<Incoming>,
    bytes: usize,
}

impl Messages {
    /// Takes what is next; returns how many messages became whole by it.
    pub async fn next(&mut self) -> anyhow::Result<u64> {
        let frame = self.response.body_mut().frame().await;
        let frame = frame.context("the stream ended")??;
        let before = self.bytes / MESSAGE;
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        ensure!(!self.response.body().is_end_stream(), "the stream ended");
        Ok((self.bytes / MESSAGE - before) as u64)
    }
}
