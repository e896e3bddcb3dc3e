//! The HTTP client of the OTLP exporter: plaintext HTTP/1.1, one connection a request. Spans go
//! out once or twice a second; a pool would cost more than it saves.

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header::HOST, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::{net::TcpStream, time};

/// A collector's answer is a few bytes; what is longer is not one.
const MAX_RESPONSE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct PlainHttpClient {
    timeout: Duration,
}

impl PlainHttpClient {
    /// `timeout` bounds a request from dial to the answer's last byte.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

#[async_trait]
impl HttpClient for PlainHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        time::timeout(self.timeout, exchange(request)).await?
    }
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let authority = uri.authority().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the collector's address has no host",
        )
    })?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    request
        .headers_mut()
        .insert(HOST, authority.as_str().parse()?);
    // HTTP/1.1 wants the path alone in the request line.
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = path.parse()?;

    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    tokio::pin!(answer, connection);
    // The connection makes progress only while it is polled; its own end, if it comes first,
    // shows as the answer's error.
    tokio::select! {
        answer = &mut answer => return answer,
        _ = &mut connection => {}
    }
    answer.await
}
