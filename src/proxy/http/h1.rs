//! Serving HTTP/1: the exchanges of one connection, and the time between them.
//!
//! An idle connection is parked: hyper's state and its buffers, 16 KiB and more, are given back,
//! and what stays is the socket. So the time that a client may be silent, and the time that it may
//! take for a head once it began, are two different things, which one timer of hyper's cannot be.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::MissedTickBehavior;

use super::{
    activity::{Activity, Allowed, Next, Ticks, Watched},
    context::Context,
    exchange,
    pool::{H1_BUFFER, MAX_HEADER_LIST},
    received::Received,
};
use crate::{
    proxy::io::Stream,
    telemetry::{Reason, drain},
};

/// How often a connection is looked at while it is in use; parked after one to two of these.
const TICK: Duration = Duration::from_millis(500);
/// Ticks that a head may take from its first byte to its last.
const HEAD_TICKS: u32 = 60;

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
    mut last_moment: Pin<&mut D>,
) -> Option<Stream> {
    let activity = Activity::new();
    let parkable = stream.is_plain();
    let service = service_fn(|request: Request<Incoming>| {
        // Boxed, since hyper keeps room for this future in every connection.
        let reply = Box::pin(exchange::handle(
            context.clone(),
            request.map(Received::H1),
            Some(activity.clone()),
        ));
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let watched = TokioIo::new(Watched::new(stream, activity.clone()));
    let mut connection = http1().serve_connection(watched, service).with_upgrades();
    let mut ticks = Ticks::default();
    let mut idle = Duration::ZERO;
    let mut every = tokio::time::interval(TICK);
    every.reset();
    // A worker that was held up must not count several ticks at once.
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended,
            () = last_moment.as_mut() => {
                Pin::new(&mut connection).graceful_shutdown();
                break connection.await;
            }
            _ = every.tick() => match ticks.tick(&activity, allowed(context)) {
                Next::Go => idle = Duration::ZERO,
                Next::Park if parkable => {
                    let parts = connection.into_parts()?;
                    return Some(parts.io.into_inner().stream.preceded_by(parts.read_buf));
                }
                Next::Park => {
                    idle += TICK;
                    if idle >= idle_timeout(context) {
                        return None;
                    }
                }
                Next::Cut => {
                    slow_head(context);
                    return None;
                }
                Next::Stalled => {
                    tracing::info!(client = %context.client, "the client takes nothing of its answer: connection cut");
                    return None;
                }
            },
        }
    };
    if let Err(error) = ended {
        unreadable(context, &error);
    }
    None
}

/// How long a connection may be silent between two exchanges.
fn idle_timeout(context: &Context) -> Duration {
    context.upstream.view().policy.timeouts.idle
}

/// A client that takes nothing of its answer for as long as it may be silent has given it up.
fn allowed(context: &Context) -> Allowed {
    let answer = idle_timeout(context).div_duration_f64(TICK).ceil();
    Allowed {
        head: HEAD_TICKS,
        answer: answer as u32,
    }
}

/// What hyper cannot read it answers by itself, 400 or 431, and there never is an exchange that
/// could be counted.
fn unreadable(context: &Context, error: &hyper::Error) {
    let reason = if error.is_parse_too_large() {
        Reason::HeadersTooLarge
    } else if error.is_parse() {
        Reason::BadRequest
    } else {
        return tracing::debug!(%error, "connection ended");
    };
    tracing::info!(client = %context.client, %reason, %error, "a request's head was refused");
    let connections = context.worker.shared.metrics.connections();
    connections.refused(context.direction, reason);
}

fn slow_head(context: &Context) {
    tracing::info!(client = %context.client, "a request's head did not end in time: connection cut");
    let connections = context.worker.shared.metrics.connections();
    connections.refused(context.direction, Reason::HeadTimeout);
}

/// Three of hyper's options stay off. `half_close`: a client that closed has given up, and its
/// request must end with it. `pipeline_flush`: it lifts the limit of the write buffer, and a
/// client that does not read would have the whole answer kept for it. `header_read_timeout`: it
/// counts from the end of the last exchange, and [`Ticks`] from the head's first byte.
pub(crate) fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .preserve_header_case(true)
        .max_buf_size(H1_BUFFER)
        .max_header_size(MAX_HEADER_LIST as usize)
        // The application's own date goes through; a second one would not be its word.
        .auto_date_header(false);
    builder
}
