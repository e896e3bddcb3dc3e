//! Keeps one stream to the controller open and the table in step with it.

use std::{
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    backoff::Backoff,
    client::{ClientOptions, Health},
    grpc::{self, Channel, DialError},
    proto::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    session::Session,
    table::Table,
};
use crate::{host, units};

/// The mean time between two requests for resources: at most 100 × 500 names in a second. The
/// first goes out at once; those that come while it waits share the next.
const PACE: Duration = Duration::from_millis(10);

/// Requests on their way; acknowledgements count, of which the controller expects no more than
/// its own limit on responses in flight.
const OUTBOUND: usize = 64;

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the controller refused or broke off the stream: {}: {}", .0.code(), .0.message())]
    Stream(#[from] Box<tonic::Status>),
    #[error("the controller ended the stream")]
    Ended,
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        Self::Stream(Box::new(status))
    }
}

/// Connects, follows the stream, and connects again; never returns.
pub(super) async fn stay_connected(options: &ClientOptions, table: &Table, health: &Health) {
    let mut backoff = Backoff::default();
    loop {
        let Err(error) = follow(options, table, health, &mut backoff).await;
        if health.connected.swap(false, Relaxed) {
            health.changed.send_replace(());
        }
        let delay = backoff.next_delay(fastrand::f64());
        tracing::warn!(
            controller = options.controller.address,
            %error,
            retry_in = %units::duration::rounded(delay),
            "no discovery: going on with what is known"
        );
        tokio::time::sleep(delay).await;
    }
}

async fn follow(
    options: &ClientOptions,
    table: &Table,
    health: &Health,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, StreamError> {
    let credentials = options.identity.ready().await;
    let tls = credentials.control_client_config(&options.controller.identity);
    let channel = Channel::dial(&options.controller, tls).await?;
    let (requests, outbound) = mpsc::channel(OUTBOUND);
    let mut inbound = AggregatedDiscoveryServiceClient::with_origin(channel, grpc::origin())
        .max_decoding_message_size(grpc::MAX_MESSAGE)
        .delta_aggregated_resources(ReceiverStream::new(outbound))
        .await?
        .into_inner();

    backoff.reset();
    health.connected.store(true, Relaxed);
    health.changed.send_replace(());
    tracing::info!(
        controller = options.controller.address,
        "discovery connected"
    );

    let mut session = Session::new(&options.node);
    for (name, change) in table.restart() {
        session.change(name, change);
    }
    let mut next_request = Instant::now();
    loop {
        tokio::select! {
            // What comes, and may come without a pause, is last.
            biased;
            () = table.wishes.notified() => {
                for (name, change) in table.take_changes() {
                    session.change(name, change);
                }
            }
            () = tokio::time::sleep_until(next_request), if session.has_request() => {
                if let Some(request) = session.next_request() {
                    send(&requests, request).await?;
                }
                next_request = Instant::now() + PACE.mul_f64(0.5 + fastrand::f64());
            }
            response = inbound.message() => {
                let response = response?.ok_or(StreamError::Ended)?;
                let reply = receive(&mut session, response, table, health);
                send(&requests, reply).await?;
            }
        }
    }
}

fn receive(
    session: &mut Session,
    response: DeltaDiscoveryResponse,
    table: &Table,
    health: &Health,
) -> DeltaDiscoveryRequest {
    let received = session.received(response);
    table.apply(received.updates);
    health.updates.fetch_add(1, Relaxed);
    *health
        .last_update
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(host::wall_clock());
    if !received.refused.is_empty() {
        for reason in &received.refused {
            tracing::warn!(
                reason,
                "refused what the controller sent: the last good value stays"
            );
        }
        let mut last = health
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = received.refused.last().map(ToString::to_string);
        drop(last);
        health.nacks.fetch_add(1, Relaxed);
        health.changed.send_replace(());
    }
    received.reply
}

async fn send(
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), StreamError> {
    requests.send(request).await.map_err(|_| StreamError::Ended)
}
