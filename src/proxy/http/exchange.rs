//! One exchange: from a request's head to the answer's, by way of its route.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request};
use http_body::Body;

use super::{
    ahead::{Ahead, PassedOn},
    body::{ClientBody, ResponseBody},
    context::Context,
    deadline, fallback,
    forward::{Forward, Keep, Payload},
    http1::{self, Spelling},
    http2,
    kind::{self, Kind},
    mirror,
    received::Received,
    reply::Refusal,
    settle::{Exchange, Witnessed},
    stale, upgrade,
};
use crate::{
    host,
    proxy::{
        head,
        io::Stream,
        route::{BackendRule, Choice, Listener, Scheme, Selected},
        tracing::Traced,
        upstream::{Upstream, UpstreamKey, View},
    },
    resilience::{CallResult, Priority, ResiliencePolicy, retry},
    telemetry::{Direction, Reason, access_log::Record, metrics::HttpProtocol, span::SpanKind},
};

pub type Reply = Response<ResponseBody<Exchange>>;

/// Who asks.
pub enum Client<'a> {
    /// With what its connection says of the request.
    Http1(http1::Client<Stream>),
    Http2(&'a http2::Writer),
}

/// Answers a request, come what may.
pub async fn handle(context: Rc<Context>, request: Request<Received>, client: Client<'_>) -> Reply {
    let started = host::now();
    context.worker.exchanges.update(|before| before + 1);
    let (mut parts, body) = request.into_parts();
    let view = context.upstream.view();
    let checked = check(&parts, &client);
    let kind = kind::kind(&parts);
    trust_peer(&context, &mut parts);
    let route = if checked.is_ok() {
        view.routes.find(&parts)
    } else {
        None
    };
    let mut exchange = begin(&context, &parts, route, started);
    if let Err(bad) = checked {
        // What one reader refuses another may read as two requests: nothing more is read from here.
        let refusal = Refusal::new(Reason::BadRequest, bad.to_string());
        let mut reply = refuse(exchange, refusal);
        close_after(&mut reply, parts.version);
        return reply;
    }
    if let Err(refusal) = context.admit(&exchange, &parts) {
        return refuse(exchange, refusal);
    }
    let upgrade = if kind == Kind::Upgrade {
        head::Upgrade::Keep
    } else {
        head::Upgrade::Strip
    };
    head::strip_hop_by_hop(&mut parts.headers, upgrade);
    let early;
    let (spelling, upgrade, ahead): (_, _, &dyn Ahead) = match client {
        Client::Http1(client) => {
            early = client.early;
            (Some(client.spelling), client.upgrade, &*early)
        }
        Client::Http2(writer) => (None, None, writer),
    };
    let routed = Routed {
        context: &context,
        view: &view,
        route,
        kind,
        spelling,
        ahead: &PassedOn::new(ahead),
    };
    let (version, to_head) = (parts.version, parts.method == http::Method::HEAD);
    let mut reply = match routed
        .answer(&mut exchange, &mut parts, body, upgrade)
        .await
    {
        Ok(answer) => finish(exchange, answer, to_head),
        Err(refusal) => refuse(exchange, refusal),
    };
    if context.worker.shared.drain.is_draining() {
        close_after(&mut reply, version);
    }
    reply
}

/// Asks an HTTP/1 client not to come back on this connection. HTTP/2 has GOAWAY for that.
fn close_after(reply: &mut Reply, version: Version) {
    if version < Version::HTTP_2 && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(header::CONNECTION, close);
    }
}

/// What came back, and how it goes on.
// Made once for each exchange and taken apart at once: boxing would cost more than the copy.
#[allow(clippy::large_enum_variant)]
pub enum Answer {
    Upstream {
        response: Response<Received>,
        deadline: Option<Instant>,
    },
    Local(Response<ResponseBody<Exchange>>),
}

/// Refuses what two readers could understand differently. Where an HTTP/1 message ends was read
/// with its head.
fn check(parts: &request::Parts, client: &Client<'_>) -> Result<(), head::BadRequest> {
    match client {
        Client::Http1(client) => client.fault.map_or(Ok(()), Err)?,
        Client::Http2(_) => head::validate_framing(&parts.headers)?,
    }
    head::validate(parts)
}

/// Headers that only the mesh may set are believed from a mesh peer and from nobody else.
fn trust_peer(context: &Context, parts: &mut request::Parts) {
    if context.caller.is_none() {
        parts.headers.remove(kind::ORIGINAL_VERSION);
    }
    if context.direction == Direction::Inbound {
        kind::unname(&mut parts.headers);
        let id = context
            .caller
            .as_ref()
            .and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        id.map(|id| parts.headers.insert(kind::CLIENT_ID, id));
    }
}

fn begin(
    context: &Rc<Context>,
    parts: &request::Parts,
    route: Option<Selected<'_>>,
    started: Instant,
) -> Box<Exchange> {
    let worker = &context.worker;
    let label = &context.upstream.state.label;
    let name = route.map_or(&worker.default_route, |route| &route.rule.name);
    let grpc = kind::is_grpc(&parts.headers);
    let protocol = match (grpc, parts.version) {
        (true, _) => HttpProtocol::Grpc,
        (false, Version::HTTP_2) => HttpProtocol::Http2,
        (false, _) => HttpProtocol::Http1,
    };
    let series = worker.series(context.direction, label, name, protocol);
    let kind = match context.direction {
        Direction::Inbound => SpanKind::Server,
        Direction::Outbound => SpanKind::Client,
    };
    let mut traced = worker.shared.tracer.start(&parts.headers, kind, name);
    traced.span.record(|span| {
        span.method = Some(parts.method.clone());
        span.version = Some(parts.version);
        span.service = Some(label.clone());
        span.peer = context.caller.clone();
        span.peer_addr = Some(context.client);
        span.path = parts.uri.path_and_query().cloned();
        span.authority = head::host(parts).and_then(|host| host.parse().ok());
    });
    let shared = &worker.shared;
    let record = (shared.access_log.is_on() || shared.taps.is_on()).then(|| Witnessed {
        access_log: shared.access_log.clone(),
        taps: shared.taps.clone(),
        record: Box::new(record(context, parts, label, name, &traced)),
    });
    let mut exchange = Box::new(Exchange::new(series, traced, grpc, started));
    exchange.witnessed = record;
    exchange
}

/// The access log's line as far as it is known when the head has come.
fn record(
    context: &Context,
    parts: &request::Parts,
    service: &Arc<str>,
    route: &Arc<str>,
    traced: &Traced,
) -> Record {
    Record {
        start: host::wall_clock(),
        direction: context.direction,
        trace_id: traced.trace_id(),
        client: context.client,
        caller: context.caller.clone(),
        service: Some(service.clone()),
        route: Some(route.clone()),
        endpoint: None,
        upstream: None,
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        version: parts.version,
        status: None,
        grpc_status: None,
        reason: None,
        request_bytes: 0,
        response_bytes: 0,
        duration: Duration::ZERO,
        upstream_duration: None,
    }
}

struct Routed<'a> {
    context: &'a Rc<Context>,
    view: &'a View,
    route: Option<Selected<'a>>,
    kind: Kind,
    spelling: Option<Spelling>,
    ahead: &'a dyn Ahead,
}

impl<'a> Routed<'a> {
    async fn answer(
        &self,
        exchange: &mut Exchange,
        parts: &mut request::Parts,
        body: Received,
        client: Option<http1::OnUpgrade<Stream>>,
    ) -> Result<Answer, Refusal> {
        if self.route.is_none() && !self.view.routes.is_empty() {
            return Err(Refusal::new(
                Reason::NoRoute,
                format!("no route of {} matches", self.context.upstream.key),
            ));
        }
        let listener = Listener {
            scheme: Scheme::Http,
            port: self.context.upstream.port(),
        };
        if let Some(response) = self.route.and_then(|route| route.redirect(parts, listener)) {
            return Ok(Answer::Local(response.map(|()| ResponseBody::Local(None))));
        }
        let (upstream, backend) = self.backend(parts).await?;
        let of_upstream = upstream.view().policy;
        let own = self.route.and_then(|route| route.rule.policy.as_ref());
        let policy = &**own.unwrap_or(&of_upstream);
        exchange.traced.inject(&mut parts.headers);
        let deadline = self.deadline(policy, exchange.started);
        let may_repeat = policy.retry.attempts > 0
            && (policy.retry.non_idempotent || retry::is_idempotent(&parts.method));
        let mirrored = self
            .route
            .is_some_and(|route| !route.rule.filters.mirrors.is_empty());
        let keep = match policy.retry.attempts > 0 && self.kind != Kind::Upgrade {
            _ if may_repeat || mirrored => Keep::Whole,
            true => Keep::AsItGoes,
            false => Keep::Nothing,
        };
        let forward = Forward {
            context: self.context,
            upstream: &upstream,
            policy,
            route: self.route.map(|route| &route.rule.name),
            kind: self.kind,
            spelling: self.spelling.as_ref(),
            ahead: self.ahead,
            deadline,
            try_timeout: self.route.and_then(|route| route.rule.backend_timeout),
            priority: priority(policy, parts),
        };
        // Before any of the body is kept: what waits for a place must not cost its memory.
        let entered = forward.enter(exchange).await;
        let mut payload = Payload::Empty;
        let goes_on = entered.is_ok() || !policy.fallback.is_empty();
        if goes_on && !body.is_end_stream() {
            let body = ClientBody::new(body);
            exchange.upload = Some(body.upload());
            let kept = Payload::prepare(body, keep, policy.retry.max_body_bytes);
            let late = "the request's body did not come in time";
            payload = deadline::within(deadline, late, kept).await??;
        }
        if let Some(route) = self.route
            && entered.is_ok()
        {
            mirror::send(self.context, route.rule, parts, &mut payload);
        }
        let stale_key = fallback::wants_stale(policy, parts)
            .then(|| stale::Key::of(parts, self.context.caller.as_ref()));
        let sent = match entered {
            Ok(()) => forward.run(exchange, parts, &mut payload).await,
            Err(refusal) => Err(refusal),
        };
        let sent = match sent {
            Ok(response) if head::is_coded(response.headers()) => {
                exchange.judge(CallResult::Failure, None);
                let detail = "the answer has a Transfer-Encoding other than chunked";
                Err((Refusal::new(Reason::UpstreamProtocol, detail), None))
            }
            Ok(response) if response.status().is_server_error() && !policy.fallback.is_empty() => {
                exchange.responded(response.status(), response.headers());
                Err((Refusal::from(Reason::UpstreamFailed), Some(response)))
            }
            Ok(response) => Ok(response),
            Err(refusal) => Err((refusal, None)),
        };
        let mut response = match sent {
            Ok(response) => response,
            Err((refusal, response)) => {
                let instead = fallback::Request {
                    context: self.context,
                    policy,
                    parts,
                    payload: &mut payload,
                    kind: self.kind,
                    spelling: self.spelling.as_ref(),
                    ahead: self.ahead,
                    deadline,
                    stale_key: stale_key.as_ref(),
                };
                match (
                    // Boxed: rare, and every request would have room for it.
                    Box::pin(fallback::answer(exchange, instead, &refusal)).await,
                    response,
                ) {
                    (Some(answer), _) => return Ok(answer),
                    (None, Some(response)) => response,
                    (None, None) => return Err(refusal),
                }
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return upgrade::switch(exchange, self.context, parts, response, client)
                .map(Answer::Local);
        }
        head::strip_hop_by_hop(response.headers_mut(), head::Upgrade::Strip);
        if let Some(route) = self.route {
            route.apply_response(backend, response.headers_mut());
        }
        // As the client gets it: a stale answer passes no filter again.
        exchange.copy = stale_key.and_then(|key| {
            self.context.worker.stale.copy(
                key,
                &parts.headers,
                response.status(),
                response.headers(),
            )
        });
        Ok(Answer::Upstream { response, deadline })
    }

    /// Where the route sends this request, with the route's filters applied to it.
    async fn backend(
        &self,
        parts: &mut request::Parts,
    ) -> Result<(Rc<Upstream>, Option<&'a BackendRule>), Refusal> {
        let Some(route) = self.route else {
            return Ok((self.context.upstream.clone(), None));
        };
        let choice = route
            .rule
            .pick_backend(&mut self.context.worker.rng.borrow_mut());
        let backend = match choice {
            Choice::Parent => None,
            Choice::Backend(backend) => Some(backend),
            Choice::NoBackend => {
                return Err(Refusal::new(
                    Reason::NoBackend,
                    format!("route {} has no backend for this request", route.rule.name),
                ));
            }
        };
        route
            .apply_request(backend, parts)
            .map_err(|too_long| Refusal::new(Reason::BadRequest, too_long.to_string()))?;
        let (worker, parent) = (&self.context.worker, &self.context.upstream);
        let service = match (backend, &parent.key) {
            (Some(backend), _) => Some(&backend.service),
            (None, UpstreamKey::Service(parent)) => Some(parent),
            (None, _) => None,
        };
        let own = route.rule.policy.as_ref();
        let own = own.filter(|own| own.counts_apart_from(&self.view.policy));
        let upstream = match (service, own) {
            (Some(service), Some(own)) => worker.by_route(service, &route.rule.name, own).await,
            (Some(service), None) if backend.is_some() => worker.service(service).await,
            (_, _) => parent.clone(),
        };
        Ok((upstream, backend))
    }

    fn deadline(&self, policy: &ResiliencePolicy, started: Instant) -> Option<Instant> {
        let of_route = self.route.and_then(|route| route.rule.request_timeout);
        let timeout = of_route
            .or(policy.timeouts.request)
            .filter(|timeout| !timeout.is_zero())?;
        Some(started + timeout)
    }
}

fn priority(policy: &ResiliencePolicy, parts: &request::Parts) -> Priority {
    let Some(name) = &policy.priority_header else {
        return Priority::Default;
    };
    parts
        .headers
        .get(&**name)
        .map_or(Priority::Default, |value| {
            Priority::from_header(value.as_bytes())
        })
}

fn finish(mut exchange: Box<Exchange>, answer: Answer, to_head: bool) -> Reply {
    let (response, deadline) = match answer {
        Answer::Local(response) => {
            exchange.answered_locally(response.status());
            return response;
        }
        Answer::Upstream { response, deadline } => (response, deadline),
    };
    exchange.responded(response.status(), response.headers());
    response.map(|body| {
        if to_head {
            // Nothing follows, whatever Content-Length says.
            let mut exchange = exchange;
            super::body::Observer::ended(&mut *exchange);
            return ResponseBody::ended(&body);
        }
        ResponseBody::streamed(body, deadline.map(Into::into), exchange)
    })
}

fn refuse(mut exchange: Box<Exchange>, refusal: Refusal) -> Reply {
    exchange.refused(refusal.reason);
    tracing::debug!(
        reason = refusal.reason.as_str(),
        detail = refusal.detail,
        "refused"
    );
    refusal.into_response(exchange.grpc)
}
