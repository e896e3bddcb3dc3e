//! One HTTP exchange on a connection that somebody opened, in whichever namespace.

use std::{net::TcpStream, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

/// An exchange that takes longer than this did not work.
const TIMEOUT: Duration = Duration::from_secs(15);

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub async fn get(stream: TcpStream, path: &str) -> anyhow::Result<Reply> {
    send(stream, Request::get(path).body(Bytes::new())?).await
}

/// The host is the connection's address unless the request names another.
pub async fn send(stream: TcpStream, request: Request<Bytes>) -> anyhow::Result<Reply> {
    let peer = stream.peer_addr()?;
    let path = request.uri().path().to_owned();
    tokio::time::timeout(TIMEOUT, exchange(stream, request))
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {TIMEOUT:?}")))
        .with_context(|| format!("asking {peer} for {path}"))
}

async fn exchange(stream: TcpStream, mut request: Request<Bytes>) -> anyhow::Result<Reply> {
    let host = stream.peer_addr()?.to_string().parse()?;
    request.headers_mut().entry(HOST).or_insert(host);
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    driving.abort();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}
