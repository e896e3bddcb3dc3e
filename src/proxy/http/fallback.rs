//! What a client gets when its upstream has no answer: the policy's fallback chain.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Response, StatusCode, request};

use super::{
    ahead::Ahead,
    body::ResponseBody,
    context::Context,
    exchange::Answer,
    forward::{Forward, Payload},
    http1::Spelling,
    kind::Kind,
    reply::{self, Refusal},
    settle::Exchange,
    stale,
};
use crate::{
    discovery::model::ServiceKey,
    host,
    proxy::head,
    resilience::{
        Fallback, Priority, ResiliencePolicy, StaticResponse,
        fallback::{self, Situation},
    },
    telemetry::metrics::FallbackKind,
};

/// Which link of the chain answered.
pub const FALLBACK: HeaderName = HeaderName::from_static("outrigger-fallback");

/// The request that needs another answer.
pub struct Request<'a> {
    pub context: &'a Rc<Context>,
    pub policy: &'a ResiliencePolicy,
    pub parts: &'a request::Parts,
    pub payload: &'a mut Payload,
    pub kind: Kind,
    pub spelling: Option<&'a Spelling>,
    pub ahead: &'a dyn Ahead,
    pub deadline: Option<Instant>,
    pub stale_key: Option<&'a stale::Key>,
}

/// Whether a good answer to this request is worth keeping.
pub fn wants_stale(policy: &ResiliencePolicy, parts: &request::Parts) -> bool {
    matches!(parts.method, http::Method::GET | http::Method::HEAD)
        && policy
            .fallback
            .iter()
            .any(|link| matches!(link, Fallback::Stale(_)))
}

/// The first link of the chain that has an answer.
pub async fn answer(
    exchange: &mut Exchange,
    mut request: Request<'_>,
    why: &Refusal,
) -> Option<Answer> {
    let mut from = 0;
    loop {
        let situation = Situation {
            method: &request.parts.method,
            stale_age: request.stale_age(),
            in_use: request.context.worker.fallbacks.get(),
        };
        let (number, link) = fallback::choose(&request.policy.fallback, from, &situation)?;
        let answer = match link {
            Fallback::Stale(_) => request.stale(),
            Fallback::Service(service) => other_service(exchange, &mut request, service).await,
            Fallback::Static(response) => Some(Answer::Local(from_static(response))),
        };
        if let Some(mut answer) = answer {
            let headers = match &mut answer {
                Answer::Local(response) => response.headers_mut(),
                Answer::Upstream { response, .. } => response.headers_mut(),
            };
            let kind = kind_of(link);
            headers.insert(FALLBACK, HeaderValue::from_static(kind.as_str()));
            reply::mark(headers, why.reason);
            exchange.series.fell_back(kind);
            exchange.reason = Some(why.reason);
            return Some(answer);
        }
        from = number + 1;
    }
}

impl Request<'_> {
    fn stale_age(&self) -> Option<Duration> {
        let stale = &self.context.worker.stale;
        stale.age(self.stale_key?, &self.parts.headers, host::now())
    }

    fn stale(&self) -> Option<Answer> {
        let stale = &self.context.worker.stale;
        let kept = stale.get(self.stale_key?, &self.parts.headers)?;
        Some(Answer::Local(from_kept(kept)))
    }
}

fn kind_of(link: &Fallback) -> FallbackKind {
    match link {
        Fallback::Stale(_) => FallbackKind::Stale,
        Fallback::Service(_) => FallbackKind::Service,
        Fallback::Static(_) => FallbackKind::Static,
    }
}

/// Counts down when the other service has answered.
struct Slot<'a>(&'a std::cell::Cell<u32>);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn other_service(
    exchange: &mut Exchange,
    request: &mut Request<'_>,
    service: &ServiceKey,
) -> Option<Answer> {
    let worker = &request.context.worker;
    if !request.payload.repeatable() || request.kind == Kind::Upgrade {
        return None;
    }
    request.payload.claim();
    worker.fallbacks.set(worker.fallbacks.get() + 1);
    let _slot = Slot(&worker.fallbacks);
    let upstream = worker.service(service).await;
    let policy = upstream.view().policy;
    let forward = Forward {
        context: request.context,
        upstream: &upstream,
        policy: &policy,
        route: None,
        kind: request.kind,
        spelling: request.spelling,
        ahead: request.ahead,
        deadline: request.deadline,
        try_timeout: None,
        priority: Priority::Default,
    };
    // The places in the first upstream's bulkheads are no longer needed.
    exchange.passes.clear();
    forward.enter(exchange).await.ok()?;
    let mut response = forward
        .run(exchange, request.parts, request.payload)
        .await
        .ok()?;
    let status = response.status();
    let unasked = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_server_error() || unasked || head::is_coded(response.headers()) {
        return None;
    }
    head::strip_hop_by_hop(response.headers_mut(), head::Upgrade::Strip);
    Some(Answer::Upstream {
        response,
        deadline: request.deadline,
    })
}

fn from_kept(kept: stale::Kept) -> Response<ResponseBody<Exchange>> {
    let mut response = Response::new(ResponseBody::local(kept.body));
    *response.status_mut() = kept.status;
    *response.headers_mut() = kept.headers;
    response
}

fn from_static(fallback: &StaticResponse) -> Response<ResponseBody<Exchange>> {
    let mut response = Response::new(ResponseBody::local(fallback.body.as_bytes().to_vec()));
    *response.status_mut() = StatusCode::from_u16(fallback.status).unwrap_or(StatusCode::OK);
    for (name, value) in &fallback.headers {
        // Checked when the policy was accepted.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
