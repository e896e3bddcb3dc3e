//! Serving HTTP/1: the exchanges of one connection, and the time between them.
//!
//! An idle connection is parked: what is kept for its exchanges is given back, and what stays is the
//! socket. So the time that a client may be silent, and the time that it may take for a head once
//! it began, are two different things.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{self, Poll, ready},
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior};

use super::{
    patience::{Allowed, Doing, Next, Ticks},
    proto::Error,
    serving::{Ended, Upkeep, carry},
    wire::Wire,
};
use crate::{
    proxy::{
        http::{
            context::Context,
            exchange::{self, Client},
            received::Received,
            reply::Refusal,
        },
        io::Stream,
    },
    telemetry::{Reason, drain},
};

/// How often a connection is looked at while it is in use; parked after one to two of these.
const TICK: Duration = Duration::from_millis(500);
/// Ticks that a head may take from its first byte to its last.
const HEAD_TICKS: u32 = 60;
/// How long a client that still sends is listened to after its last answer, so that the answer is
/// not lost, and for how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// Serves until the client closes, is silent for too long, or the proxy drains: an idle client
/// cannot be told, so it learns from its next response, or when the time for that is over.
pub async fn serve(mut stream: Stream, context: Rc<Context>, drain: drain::Watch) {
    let drain_min = context.worker.shared.config.drain_min;
    let connections = context.worker.shared.metrics.connections();
    let mut last_moment = pin!(async {
        drain.draining().await;
        tokio::time::sleep(drain_min).await;
    });
    loop {
        let used = exchanges(stream, &context, last_moment.as_mut());
        // Boxed, for a parked connection must not keep room for it.
        let Some(parked) = Box::pin(used).await else {
            return;
        };
        stream = parked;
        let _parked = connections.parked(context.direction);
        context.worker.freed.notify_one();
        tokio::select! {
            biased;
            readable = tokio::time::timeout(idle_timeout(&context), stream.readable()) => {
                if !matches!(readable, Ok(Ok(()))) {
                    return;
                }
            }
            () = last_moment.as_mut() => return,
        }
    }
}

/// Carries exchanges until the connection ends, or is idle and to be parked.
async fn exchanges<D: Future<Output = ()>>(
    stream: Stream,
    context: &Rc<Context>,
    last_moment: Pin<&mut D>,
) -> Option<Stream> {
    let mut patience = Patience::new(context, stream.is_plain(), last_moment);
    let ended = carry(
        stream,
        |request, client| {
            // Boxed, since a connection that waits for its next head has no need of it.
            Box::pin(exchange::handle(
                context.clone(),
                request.map(Received::H1Request),
                Client::Http1(client),
            ))
        },
        &mut patience,
    )
    .await;
    match ended {
        Ended::Parked(stream) => return Some(stream),
        Ended::Closed => {}
        Ended::CutOff(stream) => stream.reset(),
        Ended::Unread(wire) => linger(wire).await,
        Ended::Refused(error, wire) => refuse(context, &error, wire).await,
        Ended::SlowHead => slow_head(context),
        Ended::Stalled => {
            tracing::info!(client = %context.client, "the client takes nothing of its answer: connection cut");
        }
        Ended::Silent => {
            tracing::info!(client = %context.client, "the client sends nothing of its request's body: connection cut");
        }
    }
    None
}

/// The time that a connection's client has.
struct Patience<'a, D> {
    context: &'a Context,
    /// Of TLS nobody can say without reading whether there is something to read.
    parkable: bool,
    ticks: Ticks,
    every: Interval,
    idle: Duration,
    last_moment: Pin<&'a mut D>,
    /// The last moment has come.
    over: bool,
}

impl<'a, D: Future<Output = ()>> Patience<'a, D> {
    fn new(context: &'a Context, parkable: bool, last_moment: Pin<&'a mut D>) -> Self {
        let mut every = tokio::time::interval(TICK);
        every.reset();
        // A worker that was held up must not count several ticks at once.
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            context,
            parkable,
            ticks: Ticks::default(),
            every,
            idle: Duration::ZERO,
            last_moment,
            over: false,
        }
    }

    fn tick(&mut self, cx: &mut task::Context<'_>, doing: Doing) -> Next {
        // Looked at with each tick alone: it would cost every exchange something.
        self.over = self.over || self.last_moment.as_mut().poll(cx).is_ready();
        if self.over && !doing.exchanging {
            return Next::Close;
        }
        let next = self.ticks.tick(doing, allowed(self.context));
        if next != Next::Park || self.parkable {
            self.idle = Duration::ZERO;
            return next;
        }
        self.idle += TICK;
        if self.idle < idle_timeout(self.context) {
            Next::Go
        } else {
            Next::Close
        }
    }
}

impl<D: Future<Output = ()>> Upkeep for Patience<'_, D> {
    fn poll(&mut self, cx: &mut task::Context<'_>, doing: Doing) -> Poll<Next> {
        loop {
            ready!(self.every.poll_tick(cx));
            match self.tick(cx, doing) {
                Next::Go => {}
                next => return Poll::Ready(next),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

/// How long a connection may be silent between two exchanges.
fn idle_timeout(context: &Context) -> Duration {
    context.upstream.view().policy.timeouts.idle
}

/// A client that takes nothing of its answer, or sends nothing of a body that is waited for, as long
/// as it may be silent has given it up.
fn allowed(context: &Context) -> Allowed {
    let pause = idle_timeout(context).div_duration_f64(TICK).ceil();
    Allowed {
        head: HEAD_TICKS,
        pause: pause as u32,
    }
}

/// Sends what there is to send, and reads on a little: bytes that nobody has read turn a
/// connection's end into a reset, which takes the last answer with it.
async fn linger(mut wire: Wire<Stream>) {
    let mut read = 0;
    let mut told = false;
    let lingering = poll_fn(|cx| {
        if !told {
            ready!(wire.poll_flush(cx))?;
            ready!(wire.poll_shutdown(cx))?;
            told = true;
        }
        while read < LINGER_BYTES && ready!(wire.poll_fill(cx))? {
            read += wire.read.len();
            wire.read.clear();
        }
        Poll::Ready(Ok::<_, std::io::Error>(()))
    });
    match tokio::time::timeout(LINGER, lingering).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(_) => tracing::debug!("a client goes on sending after its last answer"),
    }
}

/// What cannot be read is answered without an exchange that could be counted.
async fn refuse(context: &Context, error: &Error, mut wire: Wire<Stream>) {
    let reason = match error {
        Error::HeadTooLarge => Reason::HeadersTooLarge,
        _ => Reason::BadRequest,
    };
    tracing::info!(client = %context.client, %reason, %error, "a request's head was refused");
    let connections = context.worker.shared.metrics.connections();
    connections.refused(context.direction, reason);
    let answer = Refusal::new(reason, error.to_string()).into_http1();
    wire.out.row().extend_from_slice(answer.as_bytes());
    linger(wire).await;
}

fn slow_head(context: &Context) {
    tracing::info!(client = %context.client, "a request's head did not end in time: connection cut");
    let connections = context.worker.shared.metrics.connections();
    connections.refused(context.direction, Reason::HeadTimeout);
}
