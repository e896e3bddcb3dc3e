//! Clients of every kind, until they are told to stop.

use std::{
    fmt,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::harness::{Mesh, Wire, h2, h2::Http2, run, tools::command};

/// Between two requests of a client.
const EVERY: Duration = Duration::from_millis(10);
/// Requests that a connection carries before its client makes another.
const CHURN: u32 = 200;

/// Sends back what it hears.
pub fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    // Ends with the process: it holds nothing that anyone waits for.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo_one(&stream));
        }
    });
    addr
}

fn echo_one(stream: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut &*stream, &mut &*stream)?;
    stream.shutdown(Shutdown::Write)
}

/// What went, and what did not.
#[derive(Default, Debug)]
pub struct Done {
    pub http1: u64,
    pub http2: u64,
    pub grpc: u64,
    pub tcp: u64,
    pub failed: u64,
    /// The first that failed.
    pub failure: Option<String>,
}

impl Done {
    pub fn all_went(&self) -> bool {
        [self.http1, self.http2, self.grpc, self.tcp]
            .iter()
            .all(|n| *n > 0)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            http1,
            http2,
            grpc,
            tcp,
            failed,
            failure,
        } = self;
        write!(
            f,
            "{http1} HTTP/1.1, {http2} HTTP/2, {grpc} gRPC (suites), {tcp} TCP, {failed} failed {failure:?}"
        )
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    counts: [AtomicU64; 4],
    failed: AtomicU64,
    failure: Mutex<Option<String>>,
    latencies: Mutex<Vec<Duration>>,
}

pub struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

type Work = fn(SocketAddr, &Shared) -> Result<(), String>;

impl Traffic {
    pub fn start(meshes: &[(&str, Mesh)]) -> Self {
        let shared = Arc::<Shared>::default();
        let addr = |name: &str| {
            let found = meshes.iter().find(|(mesh, _)| *mesh == name);
            found.expect("a mesh of that name").1.addr
        };
        let kinds: [(usize, SocketAddr, Work); 4] = [
            (0, addr("http"), http1),
            (1, addr("http"), http2),
            (2, addr("grpc"), grpc),
            (3, addr("tcp"), tcp),
        ];
        let start = |(kind, addr, work): (usize, SocketAddr, Work)| {
            let shared = shared.clone();
            thread::spawn(move || go_on(kind, addr, work, &shared))
        };
        let clients = kinds.into_iter().map(start).collect();
        Self { shared, clients }
    }

    /// The latencies of HTTP/1.1 since the last time.
    pub fn drain(&self) -> Vec<Duration> {
        std::mem::take(&mut self.shared.latencies.lock().expect("no client panics"))
    }

    pub fn stop(self) -> Done {
        self.shared.stop.store(true, Relaxed);
        for client in self.clients {
            client.join().expect("no client panics");
        }
        let count = |n: usize| self.shared.counts[n].load(Relaxed);
        Done {
            http1: count(0),
            http2: count(1),
            grpc: count(2),
            tcp: count(3),
            failed: self.shared.failed.load(Relaxed),
            failure: self.shared.failure.lock().expect("no client panics").take(),
        }
    }
}

fn go_on(kind: usize, addr: SocketAddr, work: Work, shared: &Shared) {
    let mut first = true;
    while first || !shared.stop.load(Relaxed) {
        first = false;
        match work(addr, shared) {
            Ok(()) => {
                shared.counts[kind].fetch_add(1, Relaxed);
            }
            Err(error) => {
                shared.failed.fetch_add(1, Relaxed);
                shared
                    .failure
                    .lock()
                    .expect("no client panics")
                    .get_or_insert(error);
                thread::sleep(EVERY);
            }
        }
    }
}

/// Requests on a connection of its own, of which each tenth has a large answer.
fn http1(addr: SocketAddr, shared: &Shared) -> Result<(), String> {
    let mut wire = Wire::try_connect(addr).map_err(|error| error.to_string())?;
    for n in 0..CHURN {
        let path = if n % 10 == 0 {
            "/download?n=300000"
        } else {
            "/echo"
        };
        let started = Instant::now();
        let answer = wire
            .try_send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .and_then(|()| wire.try_response("GET"))
            .map_err(|error| format!("http1 {path}: {error}"))?;
        if answer.status != 200 {
            return Err(format!(
                "http1 {path}: {} {}",
                answer.status,
                answer.reason()
            ));
        }
        let mut latencies = shared.latencies.lock().expect("no client panics");
        latencies.push(started.elapsed());
        drop(latencies);
        if shared.stop.load(Relaxed) {
            break;
        }
        thread::sleep(EVERY);
    }
    Ok(())
}

fn http2(addr: SocketAddr, shared: &Shared) -> Result<(), String> {
    let mut connection = Http2::connect(addr);
    let failed = |error: std::io::Error| format!("http2: {error}");
    for n in 0..CHURN {
        let flags = h2::END_HEADERS | h2::END_STREAM;
        connection
            .send(h2::HEADERS, flags, 1 + 2 * n, ECHO)
            .map_err(failed)?;
        let head = connection.next_of(h2::HEADERS).map_err(failed)?;
        // The static table's `:status: 200`.
        if head.payload.first() != Some(&0x88) {
            return Err(format!("http2: {:?}", head.payload));
        }
        if shared.stop.load(Relaxed) {
            break;
        }
        thread::sleep(EVERY);
    }
    Ok(())
}

/// A GET for `/echo`.
const ECHO: &[u8] = b"\x82\x86\x04\x05/echo\x01\x08app.test";

/// Cases of gRPC's own suite: streams both ways, a cancellation, a large message.
fn grpc(addr: SocketAddr, _: &Shared) -> Result<(), String> {
    for case in ["ping_pong", "large_unary", "cancel_after_first_response"] {
        let mut client = command("grpc-interop-client");
        client.arg("--server_host=127.0.0.1");
        client.arg(format!("--server_port={}", addr.port()));
        let ran = run(client.arg(format!("--test_case={case}")));
        if ran.code() != Some(0) {
            return Err(format!("grpc: {ran}"));
        }
        thread::sleep(10 * EVERY);
    }
    Ok(())
}

/// A connection that says something a hundred times.
fn tcp(addr: SocketAddr, shared: &Shared) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("tcp: {error}");
    let mut wire = Wire::try_connect(addr).map_err(failed)?;
    for _ in 0..CHURN {
        wire.try_send([7; 4000]).map_err(failed)?;
        wire.try_take(4000).map_err(failed)?;
        if shared.stop.load(Relaxed) {
            break;
        }
        thread::sleep(EVERY);
    }
    wire.finish();
    wire.try_take_all().map_err(failed).map(drop)
}
