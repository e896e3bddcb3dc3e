//! After `101 Switching Protocols` both connections are byte streams: joined until they end.

use std::rc::Rc;

use http::{Response, StatusCode, request};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{
    body::ResponseBody, context::Context, exchange::Reply, received::Received, reply::Refusal,
    settle::Exchange,
};
use crate::telemetry::Reason;

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
    mut response: Response<Received>,
    client: Option<OnUpgrade>,
) -> Result<Reply, Refusal> {
    let client = client.ok_or_else(|| {
        Refusal::new(
            Reason::UpstreamProtocol,
            "the upstream switched protocols unasked",
        )
    })?;
    let upstream = hyper::upgrade::on(&mut response);
    exchange.responded(StatusCode::SWITCHING_PROTOCOLS, response.headers());
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
    Ok(response.map(|_| ResponseBody::Local(None)))
}

async fn join(client: OnUpgrade, upstream: OnUpgrade) {
    match tokio::try_join!(client, upstream) {
        Ok((client, upstream)) => {
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(%error, "upgraded connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "upgrade failed"),
    }
}
