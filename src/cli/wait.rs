//! `outrigger wait`: whether the proxy of this pod is ready, for whoever starts after it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;

use super::values;
use crate::units;

const PAUSE: Duration = Duration::from_millis(50);
/// The answer names what is still missing: a line each.
const MAX_ANSWER: u64 = 4096;

/// Wait until the proxy in this pod is ready, or say what it is waiting for.
#[derive(Args)]
pub(super) struct WaitArgs {
    /// The proxy's admin port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:14020", value_parser = values::socket_addr)]
    admin: SocketAddr,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration::parse)]
    timeout: Duration,
}

impl WaitArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let state = match ask(self.admin, left.max(PAUSE)) {
                Ok(answer) if answer.starts_with("HTTP/1.0 200") => return Ok(()),
                Ok(answer) => format!("waiting for: {}", missing(&answer)),
                Err(error) => format!("it does not answer at {}: {error}", self.admin),
            };
            if Instant::now() + PAUSE > deadline {
                let timeout = units::duration::format(self.timeout);
                bail!("the proxy is not ready after {timeout}, {state}");
            }
            thread::sleep(PAUSE);
        }
    }
}

/// What the proxy waits for, out of its answer: a line each below the first.
fn missing(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let blocks: Vec<_> = body.lines().skip(1).map(str::trim).collect();
    blocks.join("; ")
}

/// The whole answer. By HTTP/1.0, whose end is the connection's.
fn ask(admin: SocketAddr, within: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing_in_one_line() {
        let answer = "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nnot ready, waiting for:\n  no certificate yet\n  draining\n";
        assert_eq!(missing(answer), "no certificate yet; draining");
        assert_eq!(missing("HTTP/1.0 500"), "");
    }
}
