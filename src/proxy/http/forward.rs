//! Sending a request to an upstream: bulkheads, breakers, an endpoint, and another try where the
//! policy and the budget allow one.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, Version as HttpVersion, header, request};
use http_body::Body;
use http_body_util::{BodyExt, Limited};

use super::{
    ahead::Ahead,
    body::{ClientBody, RequestBody, Upload},
    context::Context,
    deadline,
    http1::{self, Spelling},
    http2,
    kind::{self, Kind},
    pool::{Connection, PooledH1, SharedH2, Version},
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
    telemetry::{Direction, Reason},
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

    /// Another try is decided on.
    pub fn claim(&self) {
        if let Payload::Replayed { body, .. } = self {
            body.claim();
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
    /// How the client spelled the head, in HTTP/1.
    pub spelling: Option<&'a Spelling>,
    /// Takes interim answers, of every try.
    pub ahead: &'a dyn Ahead,
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
    /// Waits for a place in the bulkheads.
    ///
    /// # Errors
    /// When there is none, with the reason for the client.
    pub async fn enter(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let late = "no place in the bulkhead came free in time";
        deadline::within(self.deadline, late, self.pass_bulkheads(exchange)).await?
    }

    /// The upstream's answer, whatever its status. To be called with a place.
    ///
    /// # Errors
    /// When nothing answered, with the reason for the client.
    pub async fn run(
        &self,
        exchange: &mut Exchange,
        parts: &request::Parts,
        payload: &mut Payload,
    ) -> Result<Response<Received>, Refusal> {
        let mut now = host::now();
        self.upstream.state.deposit(now);
        let idempotent = retry::is_idempotent(&parts.method);
        // As many as there were: those that go away while this tries leave their successors.
        let endpoints = self.upstream.endpoints();
        let (mut tries, mut avoid) = (0, None);
        loop {
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
            let mut result = self.limited(exchange, &endpoint, parts, payload).await;
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
            payload.claim();
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
            now = host::now();
        }
    }

    /// Whose share of the bulkhead it takes; the application itself has all of it.
    fn caller(&self) -> Option<CallerKey> {
        let Context { caller, client, .. } = self.context;
        let by_address = || CallerKey::of(&client.ip());
        match self.context.direction {
            Direction::Inbound => Some(caller.as_ref().map_or_else(by_address, CallerKey::of)),
            Direction::Outbound => None,
        }
    }

    async fn pass_bulkheads(&self, exchange: &mut Exchange) -> Result<(), Refusal> {
        let caller = self.caller();
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
        parts: &request::Parts,
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
        parts: &request::Parts,
        payload: &mut Payload,
    ) -> Result<Response<Received>, Failed> {
        let version = self.version(endpoint, parts);
        let mut fresh = self.kind != Kind::Plain;
        loop {
            let timeout = self.policy.timeouts.connect;
            let pool = &self.context.worker.pool;
            let connection = pool.get(endpoint, version, timeout, fresh).await;
            let tried = match connection.map_err(|error| self.unreachable(error))? {
                Connection::H1(pooled) => {
                    let reused = pooled.reused;
                    let sent =
                        send_http1(pooled, parts, self.spelling, payload.next(), self.ahead).await;
                    sent.map_err(|error| Lost {
                        error: error.into(),
                        unsent: None,
                        reused,
                    })
                }
                Connection::H2(shared) => {
                    exchange.shares(&shared.holders);
                    let sent =
                        send_http2(&shared, parts, self.upstream, payload.next(), self.ahead).await;
                    sent.map_err(|lost| {
                        if lost.unsent.is_some() || lost.error.is_go_away() {
                            pool.gone(endpoint, shared.generation);
                        }
                        Lost {
                            error: lost.error.into(),
                            unsent: lost.unsent,
                            reused: false,
                        }
                    })
                }
            };
            match tried {
                Ok(response) => return Ok(response),
                Err(Lost {
                    error,
                    unsent: Some(unsent),
                    ..
                }) if !fresh => {
                    // An idle connection that was just closed from afar: nothing was sent.
                    tracing::debug!(%error, "a pooled connection had gone");
                    payload.restore(unsent);
                    fresh = true;
                }
                Err(lost) => return Err(self.broken(endpoint, &lost.error, lost.reused)),
            }
        }
    }

    /// Between proxies HTTP/2; to an application what the application's peer spoke.
    fn version(&self, endpoint: &Endpoint, parts: &request::Parts) -> Version {
        match self.kind {
            Kind::Plain if endpoint.identity.is_some() || !was_http1(parts) => Version::H2,
            _ => Version::H1,
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
            HttpError::H2(error) if error.is_refused() => {
                (TryFailure::RefusedStream, Reason::UpstreamReset)
            }
            HttpError::H1(error) if error.is_breach() => {
                (TryFailure::Reset, Reason::UpstreamProtocol)
            }
            HttpError::H2(error) if error.is_breach() => {
                (TryFailure::Reset, Reason::UpstreamProtocol)
            }
            // The idle connection's end and this request crossed: no byte of an answer came.
            HttpError::H1(http1::Error::Incomplete) if reused => {
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

/// What of a head is written in another way in HTTP/2, or anew.
static NOT_IN_HTTP2: [HeaderName; 2] = [header::HOST, kind::ORIGINAL_VERSION];
/// Tells the next proxy.
static FIRST_VERSION: (HeaderName, HeaderValue) =
    (kind::ORIGINAL_VERSION, HeaderValue::from_static("1.1"));

/// Whether the exchange was HTTP/1 when it entered the mesh.
fn was_http1(parts: &request::Parts) -> bool {
    parts.version != HttpVersion::HTTP_2 || parts.headers.contains_key(kind::ORIGINAL_VERSION)
}

/// No answer came.
struct Lost {
    error: HttpError,
    /// The request's body, where nothing of the request was sent.
    unsent: Option<RequestBody>,
    /// The connection had carried another exchange before.
    reused: bool,
}

/// One exchange on a connection of its own. HTTP/1.0 stays what it is.
pub async fn send_http1(
    pooled: PooledH1,
    parts: &request::Parts,
    spelling: Option<&Spelling>,
    body: RequestBody,
    ahead: &dyn Ahead,
) -> Result<Response<Received>, http1::Error> {
    let target = head::Http1Target::of(parts);
    let head = http1::Head::of(parts, &target, spelling);
    let sent = pooled.connection.send(head, body, Some(pooled.home), ahead);
    Ok(sent.await?.map(Received::H1Response))
}

/// One exchange on a connection that carries others too.
pub async fn send_http2(
    shared: &SharedH2,
    parts: &request::Parts,
    upstream: &Upstream,
    body: RequestBody,
    ahead: &dyn Ahead,
) -> Result<Response<Received>, http2::Unanswered<RequestBody>> {
    let target = head::Http2Target::of(parts, &upstream.authority);
    let (name, value) = &FIRST_VERSION;
    let marked = shared.meshed && was_http1(parts);
    let head = http2::Head {
        method: &parts.method,
        authority: target.authority,
        path: &target.path,
        headers: &parts.headers,
        without: &NOT_IN_HTTP2,
        with: marked.then_some((name, value)),
    };
    shared.sender.send(head, body, ahead).await
}
