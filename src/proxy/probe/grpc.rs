//! A check by gRPC's health protocol, without TLS.

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderValue, Request,
    header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::task::JoinSet;

use super::{Asked, Verdict};

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer is a few bytes long.
const MAX_ANSWER: usize = 1024;
/// The flag and the length in front of a message.
const PREFIX: usize = 5;
/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`
const SERVING: i32 = 1;

#[derive(Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) async fn check(asked: &Asked, port: u16, service: &str) -> Result<Verdict, String> {
    let tcp = asked.connect(port).await?;
    let failed = |error: hyper::Error| format!("no valid HTTP/2 answer: {error}");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    // Ends with this.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let request = request(asked, port, service);
    let response = sender.send_request(request).await.map_err(failed)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    read(&head.headers, &trailers, &body.to_bytes())
}

fn request(asked: &Asked, port: u16, service: &str) -> Request<Full<Bytes>> {
    let message = HealthCheckRequest {
        service: service.to_owned(),
    };
    let authority = std::net::SocketAddr::new(asked.ip, port);
    let mut request = Request::post(format!("http://{authority}{PATH}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(framed(&message))
        .expect("an address and a path make a URI");
    if let Some(agent) = &asked.user_agent {
        request.headers_mut().insert(USER_AGENT, agent.clone());
    }
    request
}

fn framed(message: &impl Message) -> Full<Bytes> {
    let message = message.encode_to_vec();
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a name is short"));
    framed.extend_from_slice(&message);
    Full::new(framed.freeze())
}

/// A call that fails at once has its status in the head.
fn read(head: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<Verdict, String> {
    let find = |name| trailers.get(name).or_else(|| head.get(name));
    let status = find("grpc-status").map_or("absent", text);
    if status != "0" {
        let message = find("grpc-message").map_or("", text);
        return Err(format!(
            "the application answers grpc-status {status}: {message}"
        ));
    }
    let answer = body
        .get(PREFIX..)
        .and_then(|message| HealthCheckResponse::decode(message).ok())
        .ok_or("the application answers something else than its health")?;
    Ok(match answer.status {
        SERVING => Verdict::good(),
        2 => Verdict::bad("the application is NOT_SERVING"),
        other => Verdict::bad(format!("the application's serving status is {other}")),
    })
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("unreadable")
}
