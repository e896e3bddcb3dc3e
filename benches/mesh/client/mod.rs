//! Clients on one thread: as fast as it goes, at a fixed rate, or silent.

mod http1;
mod http2;

use std::{
    mem,
    net::SocketAddr,
    num::NonZeroU64,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::runtime::Runtime;

use self::{http1::Http1, http2::Http2};
use crate::setup::Traffic;

/// An answer that takes longer than this is a fault of the setup, not a slow one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client asks, and where.
#[derive(Clone, Copy)]
pub struct Target {
    pub addr: SocketAddr,
    pub traffic: Traffic,
    /// Bytes of each answer.
    pub body: usize,
}

enum Client {
    Http1(Http1),
    Http2(Http2),
}

impl Client {
    async fn connect(target: Target) -> anyhow::Result<Self> {
        let Target {
            addr,
            traffic,
            body,
        } = target;
        let connect = async {
            Ok(match traffic {
                Traffic::Http1 => Self::Http1(Http1::connect(addr, body).await?),
                Traffic::Http2 => Self::Http2(Http2::connect(addr, body, false).await?),
                Traffic::Grpc => Self::Http2(Http2::connect(addr, body, true).await?),
                Traffic::Stream | Traffic::Greeting => bail!("{traffic:?} has no requests"),
            })
        };
        let connected = tokio::time::timeout(PATIENCE, connect).await;
        connected.context("no connection in time")?
    }

    async fn request(&mut self) -> anyhow::Result<()> {
        let answered = async {
            match self {
                Self::Http1(client) => client.request().await,
                Self::Http2(client) => client.request().await,
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        answered.context("no answer in time")?
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// One request on a new connection.
pub fn once(target: Target) -> anyhow::Result<()> {
    runtime()?.block_on(async { Client::connect(target).await?.request().await })
}

/// Connections that have been used once: silent, but while they [`run`](Self::run).
pub struct Load {
    runtime: Runtime,
    clients: Vec<Client>,
}

impl Load {
    /// Opens `connections`, one after another, each with one request.
    pub fn connect(target: Target, connections: usize) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let clients = runtime.block_on(async {
            let mut clients = Vec::with_capacity(connections);
            for _ in 0..connections {
                let mut client = Client::connect(target).await?;
                client.request().await?;
                clients.push(client);
            }
            anyhow::Ok(clients)
        })?;
        Ok(Self { runtime, clients })
    }

    /// As many requests as get answered in `duration`, each connection waiting for its answer.
    pub fn run(&mut self, duration: Duration) -> anyhow::Result<u64> {
        let end = Instant::now() + duration;
        let clients = mem::take(&mut self.clients);
        self.runtime.block_on(async {
            let running: Vec<_> = clients
                .into_iter()
                .map(|client| tokio::spawn(until(client, end)))
                .collect();
            let mut answered = 0;
            for client in running {
                let (client, requests) = client.await??;
                self.clients.push(client);
                answered += requests;
            }
            Ok(answered)
        })
    }
}

async fn until(mut client: Client, end: Instant) -> anyhow::Result<(Client, u64)> {
    let mut answered = 0;
    while Instant::now() < end {
        client.request().await?;
        answered += 1;
    }
    Ok((client, answered))
}

/// The latencies, sorted, of `rate` requests a second, each counted from when it was due: a late
/// answer does not excuse the requests behind it. One thread a connection, because a sleeping
/// thread is woken within microseconds where an event loop's timer has milliseconds.
pub fn at_rate(
    target: Target,
    connections: u32,
    rate: u32,
    duration: Duration,
) -> anyhow::Result<Vec<Duration>> {
    // Until all threads have connected.
    let start = Instant::now() + Duration::from_millis(50) + Duration::from_millis(2) * connections;
    let interval = Duration::from_secs(1) / rate;
    let due = move |nth: u32| start + interval * nth;
    let total = (duration.as_secs_f64() * f64::from(rate)) as u32;
    let clients: Vec<_> = (0..connections)
        .map(|first| {
            thread::spawn(move || {
                let turns = (first..total).step_by(connections as usize);
                on_time(target, turns.map(due))
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(total as usize);
    for client in clients {
        match client.join() {
            Ok(result) => latencies.extend(result?),
            Err(_) => bail!("a client panicked"),
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn on_time(target: Target, due: impl Iterator<Item = Instant>) -> anyhow::Result<Vec<Duration>> {
    // A sleep may end 50 µs late by default, which is as long as what is measured.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let runtime = runtime()?;
    let mut client = runtime.block_on(Client::connect(target))?;
    due.map(|due| {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        runtime.block_on(client.request())?;
        Ok(due.elapsed())
    })
    .collect()
}

/// Messages that come in `duration` over gRPC streams on connections of their own.
pub fn messages(addr: SocketAddr, streams: usize, duration: Duration) -> anyhow::Result<u64> {
    runtime()?.block_on(async {
        let end = Instant::now() + duration;
        let running: Vec<_> = (0..streams)
            .map(|_| {
                tokio::spawn(tokio::time::timeout(duration + PATIENCE, async move {
                    let mut client = Http2::connect(addr, 0, true).await?;
                    let mut messages = client.messages().await?;
                    let mut received = 0;
                    while Instant::now() < end {
                        received += messages.next().await?;
                    }
                    anyhow::Ok(received)
                }))
            })
            .collect();
        let mut received = 0;
        for stream in running {
            received += stream.await?.context("no message in time")??;
        }
        Ok(received)
    })
}
