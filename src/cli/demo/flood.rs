//! The noisy neighbour.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, task::JoinSet};

use super::{
    http,
    mesh::Mesh,
    plan::{SERVICE_PORT, Service},
};

/// Requests under way at a time.
pub const FLOOD: usize = 120;

/// Clients in the pod of `batch` that ask for `stock` without end.
pub struct Flood {
    counts: Arc<Counts>,
    thread: std::thread::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl Flood {
    pub fn start(mesh: &Mesh) -> anyhow::Result<Self> {
        let batch = mesh.of(Service::Batch).next().expect("batch has a replica");
        let stock = SocketAddr::from((Service::Stock.v4(), SERVICE_PORT));
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let thread = batch.pod.start(move || async move {
            let mut clients = JoinSet::new();
            for _ in 0..FLOOD {
                clients.spawn(flood(stock, shared.clone()));
            }
            clients.join_all().await;
        })?;
        Ok(Self { counts, thread })
    }

    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    /// Waits for what is under way, and tells how many requests the mesh refused.
    pub async fn stop(self) -> anyhow::Result<u64> {
        self.counts.stop.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        Ok(self.counts.refused.load(Ordering::Relaxed))
    }
}

async fn flood(stock: SocketAddr, counts: Arc<Counts>) {
    while !counts.stop.load(Ordering::Relaxed) {
        let reply = async {
            let stream = TcpStream::connect(stock).await?.into_std()?;
            http::get(stream, "/").await
        };
        let refused = match reply.await {
            Ok(reply) => reply.header("outrigger-reason").is_some(),
            Err(_) => true,
        };
        counts.answered.fetch_add(1, Ordering::Relaxed);
        if refused {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            // Even a noisy client waits before it tries again.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
