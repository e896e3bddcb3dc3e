//! Sending a request to an upstream: bulkheads, breakers, an endpoint, and another try where the
//! policy and the budget allow one.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version as HttpVersion, request, uri::Scheme};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use super::{
    body::{self, ClientBody, RequestBody, Upload},
    context::Context,
    deadline,
    kind::{self, Kind},
    pool::{Connection, PooledH1, Version},
    received::{HttpError, Received},
    replay::Replay,
    reply::{REASON, Refusal},
    settle::{Attempt, Exchange, retry_after},
};
use crate::{
    discovery::model::Endpoint,
    host,
    proxy::{
        balance::EndpointId,
        dial::DialError,
        head,
        upstream::{Picked, Upstream, UpstreamKey},
    },
    resilience::{
        CallResult, CallerKey, Priority, RejectCause, ResiliencePolicy, TryFailure, classify,
        retry::{self, Tried},
    },
    telemetry::Reason,
};

/// The body in the shape that decides whether it can be sent again.
pub enum Payload {
    Empty,
    Kept(Bytes),
    /// Sent as it comes, and kept while it is small and nobody answers.
    Replayed {
        body: Replay<ClientBody>,
        upload: Rc<Upload>,
    },
    Once {
        body: Option<ClientBody>,
        upload: Rc<Upload>,
    },
}

/// How much of a body is kept for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// What has gone by, so that it waits for nobody.
    AsItGoes,
    /// All of it, before any of it is sent.
    Whole,
}

impl Payload {
    /// Keeps up to `max` bytes of a body where another try may need it.
    ///
    /// # Errors
    /// When the client breaks off in the middle of one that is to be kept whole.
    pub async fn prepare(body: ClientBody, keep: Keep, max: u32) -> Result<Self, Refusal> {
        let small = body
            .size_hint()
            .upper()
            .is_some_and(|size| size <= max.into());
        if keep != Keep::Whole || !small {
            let upload = body.upload();
            return Ok(match keep {
                Keep::Nothing => Payload::Once {
                    body: Some(body),
                    upload,
                },
                Keep::AsItGoes | Keep::Whole => Payload::Replayed {
                    body: Replay::new(body, max as usize),
                    upload,
                },
            });
        }
        match Limited::new(body, max as usize).collect().await {
            Ok(whole) => Ok(Payload::Kept(whole.to_bytes())),
            Err(_) => Err(broke_off()),
        }
    }

    pub fn repeatable(&self) -> bool {
        match self {
            Payload::Empty | Payload::Kept(_) => true,
            Payload::Replayed { body, .. } => body.repeatable(),
            Payload::Once { .. } => false,
        }
    }

    /// There is an answer, or nobody will try again.
    fn settle(&self) {
        if let Payload::Replayed { body, .. } = self {
            body.settle();
        }
    }

    /// Whether the client broke it off on its way.
    fn broke_off(&self) -> bool {
        match self {
            Payload::Once { upload, .. } | Payload::Replayed { upload, .. } => {
                upload.broke_off.get()
            }
            Payload::Empty | Payload::Kept(_) => false,
        }
    }

    fn next(&mut self) -> RequestBody {
        match self {
            Payload::Empty => RequestBody::Empty,
            Payload::Kept(bytes) => RequestBody::Kept(Some(bytes.clone())),
            Payload::Replayed { body, .. } => RequestBody::Replayed(body.next()),
            Payload::Once { body, .. } => body
                .take()
                .map_or(RequestBody::Empty, RequestBody::Streamed),
        }
    }

    /// What a connection gave back unsent.
    fn restore(&mut self, body: RequestBody) {
        if let (Payload::Once { body: slot, .. }, RequestBody::Streamed(client)) = (self, body) {
            *slot = Some(client);
        }
    }
}

fn broke_off() -> Refusal {
    Refusal::new(Reason::BadRequest, "the request's body broke off")
}

/// A request on its way to one upstream.
pub struct Forward<'a> {
    pub context: &'a Context,
    pub upstream: &'a Rc<Upstream>,
    pub policy: &'a ResiliencePolicy,
    pub route: Option<&'a Arc<str>>,
    pub kind: Kind,
    /// When the client wants everything done.
    pub deadline: Option<Instant>,
    /// The longest that one try may take.
    pub try_timeout: Option<Duration>,
    pub priority: Priority,
}

/// Why a try failed, in the words of the retry policy and of the client.
struct Failed {
    failure: TryFailure,
    refusal: Refusal,
    /// What it says of the endpoint.
    verdict: CallResult,
}

impl Failed {
    fn new(failure: TryFailure, refusal: Refusal) -> Self {
        Self {
            failure,
            refusal,
            verdict: CallResult::Failure,
        }
    }
}

impl Forward<'_> {
    /// The upstream's answer, whatever its status.
    ///
    /// # Errors
    /// When nothing answered, with the reason for the client.
    pub async fn run(
        &self,
        exchange: &mut Exchange,
        parts: &request::Parts,
        payload: &mut Payload,
    ) -> Result<Response<Received>, Refusal> {
        let late = "no place in the bulkhead came free in time";
        deadline::within(self.deadline, late, self.pass_bulkheads(exchange)).await??;
        self.upstream.state.deposit(host::now());
        let idempotent = retry::is_idempotent(&parts.method);
        // As many as there were: those that go away while this tries leave their successors.
        let endpoints = self.upstream.endpoints();
        let (mut tries, mut avoid) = (0, None);
        loop {
            let now = host::now();
            let picked = self.pick(now, avoid)?;
            avoid = Some(picked.id);
            let endpoint = picked.endpoint.clone();
            exchange.sent_to(&endpoint);
            exchange.attempt = Some(Attempt::new(
                self.upstream.clone(),
                picked.id,
                picked.leave,
                now,
            ));
            let mut result = self
                .limited(exchange, &endpoint, self.head(parts, &endpoint), payload)
                .await;
            tries += 1;
            let said = result.as_mut();
            let unsent = said.is_ok_and(|response| take_words(response, &endpoint));
            let failure = match &result {
                Ok(_) if unsent => TryFailure::Connect,
                Ok(response) if exchange.grpc || response.status().as_u16() < 500 => {
                    payload.settle();
                    return result.map_err(|f| f.refusal);
                }
                Ok(response) => TryFailure::Status(response.status().as_u16()),
                // Otherwise a client could trip the breaker for everyone.
                Err(_) if payload.broke_off() => {
                    exchange.judge(CallResult::Cancelled, None);
                    return Err(broke_off());
                }
                Err(failed) => failed.failure,
            };
            let tried = Tried {
                idempotent,
                failure,
                tries,
                endpoints,
                after: host::now() - exchange.started,
            };
            if !self.pays_for_another(exchange, payload, tried) {
                return result.map_err(|failed| self.give_up(exchange, failed, tries));
            }
            exchange.series.retried();
            match result {
                Ok(response) if !failure.is_unsent() => {
                    let wait = retry_after(response.headers());
                    exchange.judge(classify::http_status(response.status().as_u16()), wait);
                }
                Ok(_) => exchange.judge(CallResult::Failure, None),
                Err(failed) => exchange.judge(failed.verdict, None),
            }
            if failure.is_unsent() && tries > 1 {
                // Endpoints go away: the control plane's word on them is on its way.
                let wait = retry::backoff(tries, &mut self.context.worker.rng.borrow_mut());
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// A copy of the request's head for one try. HTTP/2, which meshed endpoints speak, has no
    /// case of header names to keep, and the map of it costs as much as the headers do.
    fn head(&self, parts: &request::Parts, endpoint: &Endpoint) -> request::Parts {
        if self.kind != Kind::Plain || endpoint.identity.is_none() {
            return parts.clone();
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = parts.method.clone();
        head.uri = parts.uri.clone();
        head.version = parts.version;
        head.headers = parts.headers.clone();
        head
    }

    async fn pass_bulkheads(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let caller = self.context.caller.as_ref().map(CallerKey::of);
        let state = &self.upstream.state;
        if let Some(route) = self.route {
            let gate = state.route_gate(route, self.policy);
            let entered = gate.enter(self.priority, None).await;
            exchange
                .passes
                .push(entered.map_err(|cause| self.full(cause))?);
        }
        let entered = state.gate.enter(self.priority, caller).await;
        exchange
            .passes
            .push(entered.map_err(|cause| self.full(cause))?);
        Ok(())
    }

    fn full(&self, cause: RejectCause) -> Refusal {
        self.upstream.state.rejected(cause);
        Refusal {
            reason: match cause {
                RejectCause::Full | RejectCause::QueueFull => Reason::BulkheadFull,
                RejectCause::QueueTimeout => Reason::BulkheadQueueTimeout,
                RejectCause::CallerShare => Reason::CallerShare,
            },
            detail: Some(format!(
                "{} has all the requests it may have",
                self.upstream.key
            )),
            retry_after: Some(Duration::from_secs(1)),
            unsent: false,
        }
    }

    fn pick(&self, now: Instant, avoid: Option<EndpointId>) -> Result<Picked, Refusal> {
        let permit = if self.is_local() {
            None
        } else {
            self.upstream.state.admit(now).map_err(|open| Refusal {
                reason: Reason::BreakerOpen,
                detail: Some(format!(
                    "{} fails, requests are held back",
                    self.upstream.key
                )),
                retry_after: Some(open.retry_after),
                unsent: false,
            })?
        };
        self.upstream.pick(now, permit, avoid).ok_or_else(|| {
            self.upstream.state.unused(now, permit);
            if self.upstream.has_endpoints() {
                let detail = format!("every endpoint of {} is ejected", self.upstream.key);
                Refusal {
                    retry_after: Some(self.upstream.state.next_probe(now)),
                    ..Refusal::new(Reason::BreakerOpen, detail)
                }
            } else {
                Refusal::new(
                    Reason::NoEndpoints,
                    format!("{} has no ready endpoint", self.upstream.key),
                )
            }
        })
    }

    fn is_local(&self) -> bool {
        matches!(self.upstream.key, UpstreamKey::Local(_))
    }

    /// Whether another try is allowed; then it is paid for out of the budget.
    fn pays_for_another(&self, exchange: &Exchange, payload: &Payload, tried: Tried) -> bool {
        let allowed = payload.repeatable()
            && self.kind != Kind::Upgrade
            && !(self.is_local() && is_retried_by_caller(tried.failure))
            && retry::may_repeat(&self.policy.retry, tried);
        let paid = allowed && self.upstream.state.withdraw(host::now());
        if allowed && !paid {
            exchange.series.retry_denied();
        }
        paid
    }

    fn give_up(&self, exchange: &mut Exchange, failed: Failed, tries: u32) -> Refusal {
        exchange.judge(failed.verdict, None);
        // Of an earlier try the application may have seen something.
        let unsent = tries == 1 && failed.failure == TryFailure::Connect;
        Refusal {
            unsent: unsent && self.is_local() && self.context.caller.is_some(),
            ..failed.refusal
        }
    }

    /// One try, within what is left of the deadline.
    async fn limited(
        &self,
        exchange: &mut Exchange,
        endpoint: &Endpoint,
        parts: request::Parts,
        payload: &mut Payload,
    ) -> Result<Response<Received>, Failed> {
        let per_try = self.try_timeout.map(|timeout| host::now() + timeout);
        let Some(until) = [self.deadline, per_try].into_iter().flatten().min() else {
            return self.send(exchange, endpoint, parts, payload).await;
        };
        tokio::select! {
            biased;
            result = self.send(exchange, endpoint, parts, payload) => result,
            () = tokio::time::sleep_until(until.into()) => Err(Failed::new(
                TryFailure::Timeout,
                Refusal::new(
                    Reason::RequestTimeout,
                    format!("{} did not answer in time", self.upstream.key),
                ),
            )),
        }
    }

    async fn send(
        &self,
        exchange: &mut Exchange,
        endpoint: &Endpoint,
        mut parts: request::Parts,
        payload: &mut Payload,
    ) -> Result<Response<Received>, Failed> {
        let version = self.version(endpoint, &mut parts);
        match version {
            Version::H1 if self.kind == Kind::Old => {}
            Version::H1 => head::to_http1(&mut parts),
            Version::H2 => head::to_http2(&mut parts, &Scheme::HTTP, &self.upstream.authority),
        }
        let mut fresh = self.kind != Kind::Plain;
        loop {
            let timeout = self.policy.timeouts.connect;
            let connection = self
                .context
                .worker
                .pool
                .get(endpoint, version, timeout, fresh)
                .await;
            let connection = connection.map_err(|error| self.unreachable(error))?;
            let request = Request::from_parts(parts, payload.next());
            let (reused, shared) = match &connection {
                Connection::H1(pooled) => (pooled.reused, None),
                Connection::H2(shared) => {
                    exchange.shares(&shared.holders);
                    (false, Some(shared.generation))
                }
            };
            let (result, pooled) = exchange_over(connection, request).await;
            if let (Err((error, unsent)), Some(generation)) = (&result, shared)
                && (unsent.is_some() || goes_away(error))
            {
                self.context.worker.pool.gone(endpoint, generation);
            }
            match result {
                Ok(response) => {
                    exchange.connection = pooled;
                    return Ok(response);
                }
                Err((error, Some(unsent))) if !fresh => {
                    // An idle connection that was just closed from afar: nothing was sent.
                    tracing::debug!(%error, "a pooled connection had gone");
                    let (head, body) = unsent.into_parts();
                    parts = head;
                    payload.restore(body);
                    fresh = true;
                }
                Err((error, _)) => return Err(self.broken(endpoint, &error, reused)),
            }
        }
    }

    /// Between proxies HTTP/2; to an application what the application's peer spoke.
    fn version(&self, endpoint: &Endpoint, parts: &mut request::Parts) -> Version {
        if self.kind != Kind::Plain {
            return Version::H1;
        }
        let was_h1 = match parts.version {
            HttpVersion::HTTP_2 => parts.headers.remove(kind::ORIGINAL_VERSION).is_some(),
            _ => true,
        };
        match (was_h1, endpoint.identity.is_some()) {
            (true, true) => {
                parts
                    .headers
                    .insert(kind::ORIGINAL_VERSION, HeaderValue::from_static("1.1"));
                Version::H2
            }
            (true, false) => Version::H1,
            (false, _) => Version::H2,
        }
    }

    fn unreachable(&self, error: DialError) -> Failed {
        Failed {
            verdict: error.verdict(),
            ..Failed::new(
                TryFailure::Connect,
                Refusal::new(error.reason(), error.to_string()),
            )
        }
    }

    fn broken(&self, endpoint: &Endpoint, error: &HttpError, reused: bool) -> Failed {
        let (failure, reason) = match error {
            HttpError::H2(error) if is_refused(error) => {
                (TryFailure::RefusedStream, Reason::UpstreamReset)
            }
            HttpError::H1(error) if error.is_parse() => {
                (TryFailure::Reset, Reason::UpstreamProtocol)
            }
            // The idle connection's end and this request crossed: no byte of an answer came.
            HttpError::H1(error) if reused && error.is_incomplete_message() => {
                (TryFailure::StaleConnection, Reason::UpstreamReset)
            }
            _ => (TryFailure::Reset, Reason::UpstreamReset),
        };
        let refusal = Refusal::new(reason, format!("{} broke off: {error}", endpoint.addr));
        Failed::new(failure, refusal)
    }
}

/// Takes out what only proxies of the mesh may say, and tells whether the endpoint's own says that
/// the application saw nothing of the request. That is for this proxy alone; why it refused one is
/// for the client too.
fn take_words(response: &mut Response<Received>, endpoint: &Endpoint) -> bool {
    let said = response.headers_mut().remove(kind::UNSENT).is_some();
    if endpoint.identity.is_none() {
        response.headers_mut().remove(REASON);
    }
    said && endpoint.identity.is_some()
}

/// What the caller's proxy sees as a status and tries again by its own policy and budget. Were
/// both proxies to retry, their tries would multiply at an application in trouble.
fn is_retried_by_caller(failure: TryFailure) -> bool {
    matches!(failure, TryFailure::Status(_) | TryFailure::Connect)
}

/// No answer: why, and the request where nothing of it was sent.
type Unsent = (HttpError, Option<Request<RequestBody>>);

async fn exchange_over(
    connection: Connection,
    mut request: Request<RequestBody>,
) -> (Result<Response<Received>, Unsent>, Option<PooledH1>) {
    match connection {
        Connection::H1(mut pooled) => {
            body::frame(&mut request);
            match pooled.sender.try_send_request(request).await {
                Ok(response) => (Ok(response.map(Received::H1)), Some(pooled)),
                Err(mut error) => {
                    let unsent = error.take_message();
                    (Err((error.into_error().into(), unsent)), None)
                }
            }
        }
        Connection::H2(mut shared) => {
            let sent = shared.sender.send(request).await;
            (sent.map_err(|it| (it.error.into(), it.unsent)), None)
        }
    }
}

/// The endpoint did not begin to work on it.
fn is_refused(error: &h2::Error) -> bool {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => true,
        Some(h2::Reason::NO_ERROR) => is_go_away(error),
        _ => false,
    }
}

/// The peer ends the connection: what it had not begun it will not do (RFC 9113, section 6.8).
fn is_go_away(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote()
}

fn goes_away(error: &HttpError) -> bool {
    matches!(error, HttpError::H2(error) if is_go_away(error))
}
