//! HTTP/1.1 clients on keep-alive connections: closed loop, open loop, idle.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nhost: bench.shop\r\nuser-agent: two-hops\r\naccept: */*\r\n\r\n";
const BODY_LEN: usize = 1024;
/// An answer that takes longer than this is a fault of the setup, not a slow one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of `buf` the first response takes, once it is whole.
fn response_len(buf: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_len) = response.parse(buf)? else {
        return Ok(None);
    };
    ensure!(
        response.code == Some(200),
        "answered {}",
        String::from_utf8_lossy(buf)
    );
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize =
        std::str::from_utf8(length.context("an answer without content-length")?.value)?.parse()?;
    ensure!(length == BODY_LEN, "an answer of {length} bytes");
    Ok((buf.len() >= head_len + length).then_some(head_len + length))
}

/// A client that waits for each answer.
struct Client {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buf: Vec::with_capacity(4096),
        })
    }

    fn request(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(REQUEST)?;
        self.buf.clear();
        let mut chunk = [0; 4096];
        while response_len(&self.buf)?.is_none() {
            let read = self.stream.read(&mut chunk)?;
            ensure!(read > 0, "closed before the answer was whole");
            self.buf.extend_from_slice(&chunk[..read]);
        }
        Ok(())
    }
}

/// One request on a new connection.
pub fn once(addr: SocketAddr) -> anyhow::Result<()> {
    Client::connect(addr)?.request()
}

/// Connections that have been used once and are now silent, until this is dropped.
pub struct Idle {
    _clients: Vec<Client>,
}

/// Opens `connections`, one after another, each with one request.
pub fn idle(addr: SocketAddr, connections: usize) -> anyhow::Result<Idle> {
    let open = |_| {
        let mut client = Client::connect(addr)?;
        client.request()?;
        Ok(client)
    };
    let clients = (0..connections).map(open).collect::<anyhow::Result<_>>()?;
    Ok(Idle { _clients: clients })
}

/// As many requests as `connections` clients get answered in `duration`, on one thread.
pub fn closed_loop(
    addr: SocketAddr,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = Instant::now() + duration;
        let clients: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(until(addr, end)))
            .collect();
        let mut answered = 0;
        for client in clients {
            answered += client.await??;
        }
        Ok(answered)
    })
}

async fn until(addr: SocketAddr, end: Instant) -> anyhow::Result<u64> {
    let mut stream = tokio::net::TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(4096);
    let mut answered = 0;
    while Instant::now() < end {
        stream.write_all(REQUEST).await?;
        buf.clear();
        while response_len(&buf)?.is_none() {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut buf)).await;
            ensure!(
                read.context("no answer")?? > 0,
                "closed before the answer was whole"
            );
        }
        answered += 1;
    }
    Ok(answered)
}

/// The latencies, sorted, of `rate` requests a second, each counted from when it was due: a late
/// answer does not excuse the requests behind it. One thread a connection, because a blocked
/// thread is woken within microseconds where an event loop's timer has milliseconds.
pub fn open_loop(
    addr: SocketAddr,
    connections: u32,
    rate: u32,
    duration: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let start = Instant::now() + Duration::from_millis(50);
    let interval = Duration::from_secs(1) / rate;
    let due = move |nth: u32| start + interval * nth;
    let total = (duration.as_secs_f64() * f64::from(rate)) as u32;
    let clients: Vec<_> = (0..connections)
        .map(|first| {
            thread::spawn(move || {
                let turns = (first..total).step_by(connections as usize);
                on_time(addr, turns.map(due))
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

fn on_time(addr: SocketAddr, due: impl Iterator<Item = Instant>) -> anyhow::Result<Vec<Duration>> {
    let mut client = Client::connect(addr)?;
    due.map(|due| {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        client.request()?;
        Ok(due.elapsed())
    })
    .collect()
}
