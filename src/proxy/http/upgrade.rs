//! After `101 Switching Protocols` both connections are byte streams: joined until they end.

use std::rc::Rc;

use http::{Response, StatusCode, request};

use super::{
    body::ResponseBody, context::Context, exchange::Reply, http1::OnUpgrade, received::Received,
    reply::Refusal, settle::Exchange,
};
use crate::{
    proxy::{
        head::{self, Upgrade},
        io::{Rewind, Stream},
    },
    telemetry::Reason,
};

/// Passes the 101 on and joins the two connections. No byte goes through before it, and the
/// exchange (its places, its span) lasts as long as the joined connection, which ends when the access
/// rules no longer allow the request that it began with.
///
/// # Errors
/// When the upstream switched protocols though the client had not asked for it.
pub fn switch(
    exchange: &mut Exchange,
    context: &Rc<Context>,
    request: &request::Parts,
    response: Response<Received>,
    client: Option<OnUpgrade<Stream>>,
) -> Result<Reply, Refusal> {
    let (mut parts, body) = response.into_parts();
    head::strip_hop_by_hop(&mut parts.headers, Upgrade::Keep);
    let reply_body = ResponseBody::ended(&body);
    let upstream = match body {
        Received::H1Response(body) => body.into_upgraded(),
        Received::H1Request(_) | Received::H2(_) => None,
    };
    let (Some(client), Some(upstream)) = (client, upstream) else {
        return Err(Refusal::new(
            Reason::UpstreamProtocol,
            "the upstream switched protocols unasked",
        ));
    };
    exchange.responded(StatusCode::SWITCHING_PROTOCOLS, &parts.headers);
    let held = exchange.detach();
    let context = context.clone();
    let (method, uri) = (request.method.clone(), request.uri.clone());
    tokio::task::spawn_local(async move {
        let _held = held;
        tokio::select! {
            biased;
            () = context.until_denied(&method, uri.path()) => {
                let connections = context.worker.shared.metrics.connections();
                connections.refused(context.direction, Reason::AccessDenied);
                let detail = "a changed policy no longer allows this caller";
                tracing::info!(client = %context.client, detail, "upgraded connection cut");
            }
            () = join(client, upstream) => {}
        }
    });
    Ok(Response::from_parts(parts, reply_body))
}

async fn join(client: OnUpgrade<Stream>, mut upstream: Rewind<Stream>) {
    // It ends where the client went before the 101 was sent.
    let Ok(mut client) = client.await else {
        return tracing::debug!("the client of an upgrade has gone");
    };
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, "upgraded connection ended");
    }
}
