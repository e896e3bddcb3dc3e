//! Copies of requests whose answers nobody waits for.

use std::rc::Rc;

use http::request;
use http_body_util::BodyExt;

use super::{
    ahead::Untold,
    body::RequestBody,
    context::Context,
    forward::{self, Payload},
    pool::{Connection, Version},
};
use crate::host;
use crate::proxy::route::RouteRule;

/// Sends the route's mirrors their copies. Only bodies that are kept whole anyway are mirrored;
/// a streamed one would tie the client to the slowest mirror.
pub fn send(
    context: &Rc<Context>,
    route: &RouteRule,
    parts: &request::Parts,
    payload: &mut Payload,
) {
    for mirror in &route.filters.mirrors {
        let chosen = mirror.wants(&mut context.worker.rng.borrow_mut());
        let body = match payload {
            Payload::Empty => RequestBody::Empty,
            Payload::Kept(bytes) => RequestBody::Kept(Some(bytes.clone())),
            Payload::Once { .. } | Payload::Replayed { .. } => continue,
        };
        if !chosen {
            continue;
        }
        let (context, service, parts) = (context.clone(), mirror.service.clone(), parts.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = copy(&context, &service, parts, body).await {
                tracing::debug!(%error, %service, "mirrored request failed");
            }
        });
    }
}

async fn copy(
    context: &Context,
    service: &crate::discovery::model::ServiceKey,
    parts: request::Parts,
    body: RequestBody,
) -> anyhow::Result<()> {
    let upstream = context.worker.service(service).await;
    let now = host::now();
    let Some(picked) = upstream.pick(now, None, None) else {
        return Ok(());
    };
    let mut attempt = super::settle::Attempt::new(upstream.clone(), picked.id, picked.leave, now);
    let version = match picked.endpoint.identity {
        Some(_) => Version::H2,
        None if parts.version == http::Version::HTTP_2 => Version::H2,
        None => Version::H1,
    };
    let timeout = upstream.view().policy.timeouts.connect;
    let pool = &context.worker.pool;
    let mut response = match pool.get(&picked.endpoint, version, timeout, false).await? {
        Connection::H1(pooled) => forward::send_http1(pooled, &parts, None, body, &Untold).await?,
        Connection::H2(shared) => {
            let sent = forward::send_http2(&shared, &parts, &upstream, body, &Untold).await;
            sent.map_err(|unanswered| unanswered.error)?
        }
    };
    attempt.judge(
        crate::resilience::classify::http_status(response.status().as_u16()),
        None,
    );
    while let Some(frame) = response.frame().await {
        frame?;
    }
    Ok(())
}
