//! The end of an exchange: breakers, balancer, metrics, span and access log hear how it went,
//! exactly once, whichever way it ended.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{
    body::{Observer, Upload},
    held::{Held, Holders},
    kind,
    reply::REASON,
    stale::StaleCopy,
};
use crate::{
    discovery::model::Endpoint,
    host,
    proxy::{
        admission::Pass,
        balance::EndpointId,
        tracing::Traced,
        upstream::{Leave, Upstream},
    },
    resilience::{CallResult, Outcome, classify},
    telemetry::{
        Reason,
        access_log::{AccessLog, Record},
        metrics::{GaugeGuard, RequestSeries},
        tap::Taps,
    },
};

/// One try at one endpoint. Dropped without a verdict, the try was cancelled: the breaker hears
/// of that too, or a hung backend would never trip it.
pub struct Attempt {
    upstream: Rc<Upstream>,
    endpoint: EndpointId,
    leave: Leave,
    started: Instant,
    judged: bool,
}

impl Attempt {
    pub fn new(
        upstream: Rc<Upstream>,
        endpoint: EndpointId,
        leave: Leave,
        started: Instant,
    ) -> Self {
        Self {
            upstream,
            endpoint,
            leave,
            started,
            judged: false,
        }
    }

    /// Says how it went; only the first word counts.
    pub fn judge(&mut self, result: CallResult, retry_after: Option<Duration>) -> Option<Outcome> {
        if std::mem::replace(&mut self.judged, true) {
            return None;
        }
        let now = host::now();
        let outcome = Outcome {
            result,
            latency: now - self.started,
            retry_after,
        };
        self.upstream.finished(self.endpoint, now, &outcome);
        self.upstream.state.record(now, &self.leave, outcome);
        Some(outcome)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.judge(CallResult::Cancelled, None);
    }
}

/// What is known of an exchange so far, for the access log and for who taps.
pub struct Witnessed {
    pub access_log: AccessLog,
    pub taps: Taps,
    pub record: Box<Record>,
}

impl Witnessed {
    fn tell(self) {
        self.taps.offer(&self.record);
        self.access_log.log(*self.record);
    }
}

/// An exchange from its head to the last byte of its answer.
pub struct Exchange {
    pub started: Instant,
    pub series: Arc<RequestSeries>,
    pub traced: Traced,
    /// Where somebody wants to hear of it.
    pub witnessed: Option<Witnessed>,
    in_flight: Option<GaugeGuard>,
    /// The request's body, where it has one.
    pub upload: Option<Rc<Upload>>,
    /// The bulkheads it is in.
    pub passes: Vec<Pass>,
    pub attempt: Option<Attempt>,
    /// The answer's body, where it comes by a connection that others share.
    held: Option<Held>,
    /// A copy of the answer for the stale fallback, where the policy has one.
    pub copy: Option<StaleCopy>,
    pub grpc: bool,
    /// What the client got, if it got anything.
    pub status: Option<StatusCode>,
    pub reason: Option<Reason>,
    grpc_status: Option<u32>,
    received: u64,
    complete: bool,
}

impl Exchange {
    pub fn new(series: Arc<RequestSeries>, traced: Traced, grpc: bool, started: Instant) -> Self {
        let in_flight = Some(series.started());
        Self {
            started,
            series,
            traced,
            witnessed: None,
            in_flight,
            upload: None,
            passes: Vec::new(),
            attempt: None,
            held: None,
            copy: None,
            grpc,
            status: None,
            reason: None,
            grpc_status: None,
            received: 0,
            complete: false,
        }
    }

    /// A try goes over a connection that others use too.
    pub fn shares(&mut self, holders: &Rc<Holders>) {
        self.held = Some(Held::by(holders));
        if let Some(upload) = &self.upload {
            upload.held.replace(Some(Held::by(holders)));
        }
    }

    /// A try goes to this endpoint, which must prove its identity where it has one.
    pub fn sent_to(&mut self, endpoint: &Endpoint) {
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.record.endpoint = Some(endpoint.addr);
            witnessed.record.upstream.clone_from(&endpoint.identity);
        }
    }

    /// The response's head arrived. A gRPC call is judged by its status where the head has it,
    /// else when the first message or the trailers come.
    pub fn responded(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        // The endpoint's proxy answered in the application's place, which is as good a reason here.
        if self.grpc || !status.is_success() {
            let word = headers.get(REASON);
            self.reason = word.and_then(|word| Reason::from_word(word.as_bytes()));
        }
        if let Some(witnessed) = &mut self.witnessed {
            witnessed.record.upstream_duration = Some(host::now() - self.started);
        }
        let verdict = match (self.grpc, kind::grpc_status(headers)) {
            (true, None) if status.is_success() => return,
            (true, Some(code)) => {
                self.grpc_status = Some(code);
                classify::grpc_status(code)
            }
            _ => classify::http_status(status.as_u16()),
        };
        self.judge(verdict, retry_after(headers));
    }

    /// How the current try went.
    pub fn judge(&mut self, result: CallResult, retry_after: Option<Duration>) {
        let outcome = self
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.judge(result, retry_after));
        if let Some(outcome) = outcome {
            self.passes.iter_mut().for_each(|pass| pass.judge(outcome));
        }
    }

    /// The answer is the proxy's own and is whole.
    pub fn answered_locally(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.complete = true;
    }

    /// Takes what must last as long as an upgraded connection, places in bulkheads above all.
    pub fn detach(&mut self) -> (Vec<Pass>, Option<GaugeGuard>) {
        (std::mem::take(&mut self.passes), self.in_flight.take())
    }

    /// The proxy answered by itself.
    pub fn refused(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.status = Some(reason.http_status());
        self.complete = true;
    }
}

/// What `Retry-After` asks for.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    classify::retry_after(headers.get(http::header::RETRY_AFTER)?.to_str().ok()?)
}

impl Observer for Exchange {
    fn data(&mut self, bytes: &Bytes) {
        self.received += bytes.len() as u64;
        if let Some(held) = &mut self.held {
            held.went_on(bytes.len() as u64, host::now);
        }
        if let Some(copy) = &mut self.copy {
            copy.push(bytes);
        }
        if self.grpc {
            self.judge(CallResult::Success, None);
        }
    }

    fn waits(&mut self) {
        if let Some(held) = &self.held {
            held.is_asked_for();
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(code) = kind::grpc_status(trailers) {
            self.grpc_status = Some(code);
            self.judge(classify::grpc_status(code), None);
        }
    }

    fn failed(&mut self) {
        self.reason = Some(Reason::UpstreamReset);
        self.judge(CallResult::Failure, None);
    }

    fn timed_out(&mut self) {
        self.reason = Some(Reason::RequestTimeout);
        self.judge(CallResult::Failure, None);
    }

    fn ended(&mut self) {
        self.complete = true;
        self.held = None;
        if let Some(copy) = self.copy.take() {
            copy.keep(host::now());
        }
        self.judge(CallResult::Success, None);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Places in the bulkheads first: somebody may be waiting for them.
        self.passes.clear();
        if !self.complete && self.reason.is_none() {
            self.reason = Some(Reason::ClientCancelled);
        }
        let duration = host::now() - self.started;
        self.series.finished(self.status, self.reason, duration);
        self.series.response_bytes(self.received);
        let sent = self.upload.as_ref().map_or(0, |upload| upload.bytes.get());
        self.series.request_bytes(sent);
        let own_code = self.reason.map(|reason| u32::from(reason.grpc_code()));
        let grpc_status = self.grpc_status.or(own_code).filter(|_| self.grpc);
        if let Some(code) = grpc_status {
            self.series.grpc_finished(code);
        }
        let (status, reason) = (self.status, self.reason);
        if let Some(mut witnessed) = self.witnessed.take() {
            let record = &mut witnessed.record;
            record.status = status;
            record.grpc_status = grpc_status;
            record.request_bytes = sent;
            record.reason = reason;
            record.response_bytes = self.received;
            record.duration = duration;
            witnessed.tell();
        }
        self.traced.span.record(|span| {
            span.status = status;
            span.grpc_status = grpc_status;
            span.reason = reason;
        });
    }
}
