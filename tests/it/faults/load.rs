//! Clients that ask without end, and count what they get.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::harness::{Wire, wait};

const CLIENTS: usize = 4;
/// Between two requests of a client: enough to see every moment, too little to fill the machine.
const EVERY: Duration = Duration::from_millis(3);
/// Longer than any process is stopped for.
const PATIENCE: Duration = Duration::from_secs(60);
/// A load that nobody stops ends by itself.
const LONGEST: Duration = Duration::from_secs(120);

/// What clients got.
#[derive(Clone, Default)]
pub struct Got {
    /// By status, or by how the connection ended.
    pub by_kind: BTreeMap<String, u64>,
    pub longest: Duration,
    last_failure: Option<Instant>,
}

impl Got {
    pub fn answered(&self) -> u64 {
        self.by_kind.get("200").copied().unwrap_or_default()
    }

    pub fn failed(&self) -> u64 {
        self.by_kind.values().sum::<u64>() - self.answered()
    }

    fn note(&mut self, kind: String, took: Duration) {
        if kind != "200" {
            self.last_failure = Some(Instant::now());
        }
        *self.by_kind.entry(kind).or_default() += 1;
        self.longest = self.longest.max(took);
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.answered() + self.failed();
        write!(f, "{} of {all} requests failed", self.failed())?;
        let kinds = self.by_kind.iter().filter(|(kind, _)| *kind != "200");
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{n} × {kind}")).collect();
        if !kinds.is_empty() {
            write!(f, " ({})", kinds.join(", "))?;
        }
        write!(f, ", the slowest took {} ms", self.longest.as_millis())
    }
}

/// Load under way.
pub struct Load {
    got: Arc<Mutex<Got>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins, and waits until every client has had an answer.
    pub fn start(addr: SocketAddr) -> Self {
        Self::of(addr, "GET /echo HTTP/1.1\r\nHost: app.test\r\n\r\n")
    }

    pub fn of(addr: SocketAddr, request: &'static str) -> Self {
        let load = Self {
            got: Arc::default(),
            answered: Arc::default(),
            stop: Arc::default(),
            clients: Vec::new(),
        };
        let client = |_| {
            let (got, answered) = (load.got.clone(), load.answered.clone());
            let stop = load.stop.clone();
            thread::spawn(move || ask(addr, request, &got, &answered, &stop))
        };
        let clients = (0..CLIENTS).map(client).collect();
        let load = Self { clients, ..load };
        load.more(50);
        load
    }

    /// Waits for `n` more answers.
    pub fn more(&self, n: u64) {
        let until = self.answered.load(Relaxed) + n;
        wait::until("requests are answered", || {
            self.answered.load(Relaxed) >= until
        });
    }

    pub fn failed(&self) -> u64 {
        self.got.lock().expect("no client panics").failed()
    }

    /// How long after `fault` the last failure was.
    pub fn failing_for(&self, fault: Instant) -> Duration {
        let last = self.got.lock().expect("no client panics").last_failure;
        last.map_or(Duration::ZERO, |at| at.saturating_duration_since(fault))
    }

    pub fn stop(self) -> Got {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            client.join().expect("no client panics");
        }
        self.got.lock().expect("no client panics").clone()
    }
}

fn ask(addr: SocketAddr, request: &str, got: &Mutex<Got>, answered: &AtomicU64, stop: &AtomicBool) {
    let begun = Instant::now();
    let mut wire: Option<Wire> = None;
    while !stop.load(Relaxed) && begun.elapsed() < LONGEST {
        let started = Instant::now();
        let (kept, kind) = once(addr, request, wire.take());
        wire = kept;
        if kind == "200" {
            answered.fetch_add(1, Relaxed);
        }
        let mut got = got.lock().expect("no client panics");
        got.note(kind, started.elapsed());
        drop(got);
        thread::sleep(EVERY);
    }
}

/// One request; what is left of its connection, and its answer's kind.
fn once(addr: SocketAddr, request: &str, wire: Option<Wire>) -> (Option<Wire>, String) {
    let wire = match wire {
        Some(wire) => Ok(wire),
        None => Wire::try_connect(addr),
    };
    let Ok(mut wire) = wire else {
        return (None, "connection refused".to_owned());
    };
    wire.patience(PATIENCE);
    let sent = wire.try_send(request);
    match sent.and_then(|()| wire.try_response("GET")) {
        Ok(answer) if answer.status == 200 => {
            let closes = answer.header("connection").as_deref() == Some("close");
            ((!closes).then_some(wire), "200".to_owned())
        }
        Ok(answer) => (None, format!("{} {}", answer.status, answer.reason())),
        Err(_) => (None, "connection cut".to_owned()),
    }
}
