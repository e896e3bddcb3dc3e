//! Many proxies as the controller sees them: each the product's discovery client with a connection
//! of its own, all of them watching one service.

use std::{
    cell::RefCell,
    ops::Range,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use outrigger::discovery::{ClientOptions, DiscoveryClient, State, model::ServiceKey};
use rustix::time::ClockId;
use tokio::{runtime::Runtime, sync::oneshot};

use super::{
    controller::Controller,
    server::nanoseconds,
    world::{self, NAMESPACE, PORT},
};
use crate::setup::PROXY_ID;

/// Proxies that connect at the same time: more would only wait for each other.
const AT_ONCE: usize = 100;
/// For all proxies together, whether they connect, come back after a storm or hear of a change.
const PATIENCE: Duration = Duration::from_secs(90);
const THREADS: usize = 2;

/// A proxy has been told how often the endpoints have moved.
struct Told {
    proxy: usize,
    generation: u32,
    /// When, in nanoseconds of the monotonic clock.
    at: u64,
}

pub struct Fleet {
    told: mpsc::Receiver<Told>,
    /// What each proxy knows, and since when.
    known: RefCell<Vec<(u32, u64)>>,
    _stop: Vec<oneshot::Sender<()>>,
}

/// When each proxy knew of a change.
pub struct Known(Vec<u64>);

impl Known {
    pub fn since(&self, at: u64) -> impl Iterator<Item = Duration> {
        let each = self.0.iter();
        each.map(move |known| Duration::from_nanos(known.saturating_sub(at)))
    }
}

impl Fleet {
    /// Returns when all have what they asked for.
    pub fn connect(controller: &Controller, count: usize) -> anyhow::Result<Self> {
        let (sender, told) = mpsc::channel();
        let options = runtime()?.block_on(controller.client_options())?;
        let mut fleet = Self {
            told,
            known: RefCell::new(vec![(0, 0); count]),
            _stop: Vec::new(),
        };
        let mut handles = Vec::new();
        for _ in 0..THREADS {
            let (runtime, (stop, stopped)) = (runtime()?, oneshot::channel::<()>());
            handles.push(runtime.handle().clone());
            fleet._stop.push(stop);
            thread::spawn(move || {
                // Ends when the fleet is dropped, and its proxies with it.
                let _ = runtime.block_on(stopped);
            });
        }
        let end = Instant::now() + PATIENCE;
        for first in (0..count).step_by(AT_ONCE) {
            let batch = first..count.min(first + AT_ONCE);
            for proxy in batch.clone() {
                let (options, sender) = (options.clone(), sender.clone());
                handles[proxy % THREADS].spawn(follow(options, proxy, sender));
            }
            fleet.wait(batch, 0, end)?;
        }
        Ok(fleet)
    }

    /// Waits until all know that the endpoints have moved so often.
    pub fn all_know(&self, generation: u32) -> anyhow::Result<Known> {
        let everyone = 0..self.known.borrow().len();
        self.wait(everyone, generation, Instant::now() + PATIENCE)?;
        let known = self.known.borrow();
        Ok(Known(known.iter().map(|(_, at)| *at).collect()))
    }

    fn wait(&self, proxies: Range<usize>, generation: u32, end: Instant) -> anyhow::Result<()> {
        let mut known = self.known.borrow_mut();
        let knows = |(known, at): (u32, u64)| at > 0 && known >= generation;
        let all = proxies.len();
        let mut left = known[proxies.clone()]
            .iter()
            .filter(|known| !knows(**known))
            .count();
        while left > 0 {
            let patience = end.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(patience);
            let told = told.with_context(|| {
                let first = proxies.start;
                format!("of {all} proxies from {first} on, {left} do not know in time")
            })?;
            let now = (told.generation, told.at);
            let before = std::mem::replace(&mut known[told.proxy], now);
            if proxies.contains(&told.proxy) && knows(now) && !knows(before) {
                left -= 1;
            }
        }
        Ok(())
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Asks for what a proxy asks for when its application calls one service.
async fn follow(options: ClientOptions, proxy: usize, told: mpsc::Sender<Told>) {
    let (client, runner) = DiscoveryClient::new(options);
    let key = ServiceKey {
        namespace: NAMESPACE.into(),
        name: world::name(0).into(),
        port: PORT,
    };
    let id = PROXY_ID.parse().expect("it is an identity");
    let _beside = (
        client.workload(&id),
        client.trust_bundle("bench.test"),
        client.destination((world::address(0), PORT).into()),
        client.service(&key),
    );
    let mut endpoints = client.endpoints(&key);
    let listen = async {
        loop {
            endpoints.changed().await;
            if let State::Present(now) = endpoints.current()
                && let Some(generation) = world::generation(&now)
            {
                let at = nanoseconds(ClockId::Monotonic);
                let told = told.send(Told {
                    proxy,
                    generation,
                    at,
                });
                if told.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = runner.run() => {}
        () = listen => {}
    }
}
