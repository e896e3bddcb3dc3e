//! The access log: one JSON object a line for each exchange, written by a thread of its own.
//!
//! Off unless asked for. What does not fit the queue is dropped and counted: traffic never waits
//! for a disk or a pipe. Who configures it chooses whether successes are logged all or in part.

mod line;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode, Uri, Version};

use super::{
    Direction, Reason,
    context::TraceId,
    lines::{self, Line, Lines},
};
use crate::identity::SpiffeId;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    /// Appended to.
    File(PathBuf),
}

/// One exchange. Fields that do not apply are left out of its line.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request's headers had come.
    pub start: SystemTime,
    pub direction: Direction,
    pub trace_id: Option<TraceId>,
    /// Who sent the request: an address always, an identity where mesh TLS proved it.
    pub client: SocketAddr,
    pub caller: Option<SpiffeId>,
    /// The service and route that were chosen.
    pub service: Option<Arc<str>>,
    pub route: Option<Arc<str>>,
    /// The endpoint that answered, and who it proved to be.
    pub endpoint: Option<SocketAddr>,
    pub upstream: Option<SpiffeId>,
    pub method: Method,
    /// Its path is logged without the query, which may hold secrets.
    pub uri: Uri,
    pub version: Version,
    pub status: Option<StatusCode>,
    /// The `grpc-status` of a gRPC call.
    pub grpc_status: Option<u32>,
    pub reason: Option<Reason>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Until the response's body had ended.
    pub duration: Duration,
    /// Until the upstream's response headers came, counted from `start`.
    pub upstream_duration: Option<Duration>,
}

impl Record {
    /// Appends it as one line of JSON: of the path no query, nothing of headers and bodies.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        line::append(self, out);
    }

    /// No response, one the proxy had a reason for, a server's error, or a gRPC call not OK.
    fn is_failure(&self) -> bool {
        let grpc_failed = self.grpc_status.is_some_and(|code| code != 0);
        grpc_failed
            || self.reason.is_some()
            || self.status.is_none_or(|status| status.is_server_error())
    }
}

impl Line for Box<Record> {
    /// The address is as the client sent it.
    fn bytes(&self) -> usize {
        let host = self.uri.host().map_or(0, str::len);
        size_of::<Record>() + host + self.uri.path().len()
    }

    fn append(&self, out: &mut Vec<u8>) {
        line::append(self, out);
    }
}

/// The data path's end: sends records and never blocks. Clones send to the same log.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Option<Sender>);

#[derive(Clone, Debug)]
struct Sender {
    lines: Lines<Box<Record>>,
    success_ratio: f64,
}

impl AccessLog {
    /// A log that writes nothing.
    pub const OFF: Self = Self(None);

    /// A log and its writer. `success_ratio`, 0 to 1, is the share of the successes that is
    /// logged (failures all are); `dropped` counts the lines that were lost.
    pub fn new(success_ratio: f64, dropped: Arc<AtomicU64>) -> (Self, Writer) {
        let (lines, writer) = Lines::new(dropped);
        let sender = Sender {
            lines,
            success_ratio,
        };
        (Self(Some(sender)), Writer(writer))
    }

    /// Whether it is on: where it is not, no record needs to be built.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub fn log(&self, record: Record) {
        let Some(sender) = &self.0 else {
            return;
        };
        if record.is_failure() || fastrand::f64() < sender.success_ratio {
            sender.lines.push(Box::new(record));
        }
    }

    /// Waits until what was logged is written, `within` at most.
    pub fn flush(&self, within: Duration) {
        if let Some(sender) = &self.0 {
            sender.lines.flush(within);
        }
    }
}

/// The writing end, for a thread of its own.
pub struct Writer(lines::Writer<Box<Record>>);

impl Writer {
    /// Writes until every [`AccessLog`] is dropped. A full disk or a closed pipe costs lines,
    /// which are counted, and no more.
    ///
    /// # Errors
    /// When the output cannot be opened.
    pub fn run(self, output: &Output) -> io::Result<()> {
        match output {
            Output::Stdout => self.write_to(io::stdout()),
            Output::File(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                self.write_to(opened.map_err(|error| {
                    let at = path.display();
                    let help = "check that the directory exists and is writable";
                    io::Error::new(error.kind(), format!("access log {at}: {error}; {help}"))
                })?);
            }
        }
        Ok(())
    }

    fn write_to(self, out: impl Write) {
        let mut failing = false;
        self.0.write_to(out, |written| match written {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "cannot write the access log; lines are dropped until it works again");
            }
            Err(_) => {}
        });
    }
}

#[cfg(test)]
mod tests;
