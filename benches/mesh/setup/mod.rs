//! What is measured: each setup is an address that reaches an origin, and the processes between.

mod copy_loop;
mod envoy;
mod haproxy;
mod nginx;
mod outrigger;

use std::{
    cell::Cell,
    env, fmt, fs,
    io::Read,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

pub use self::outrigger::{Files, Options, PROXY_ID};
use crate::{
    certificates,
    client::{self, Target},
    origin::{self, Origins},
    process::Process,
};

/// How long a setup may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Direct,
    Outrigger,
    Envoy,
    Haproxy,
    Nginx,
    /// Tokio's copy and rustls, and nothing else.
    CopyLoop,
}

impl Peer {
    /// Those that speak HTTP.
    pub const HTTP: [Self; 5] = [
        Self::Direct,
        Self::Outrigger,
        Self::Envoy,
        Self::Haproxy,
        Self::Nginx,
    ];
    /// Those that carry opaque TCP.
    pub const TCP: [Self; 5] = [
        Self::Direct,
        Self::Outrigger,
        Self::Envoy,
        Self::Haproxy,
        Self::CopyLoop,
    ];
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Outrigger => "Outrigger",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::CopyLoop => "rustls copy loop",
        })
    }
}

/// What goes through a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Http1,
    Http2,
    Grpc,
    /// Opaque TCP in which the server pours bytes.
    Stream,
    /// Opaque TCP in which the server says one byte.
    Greeting,
}

impl Traffic {
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Grpc)
    }

    /// Whether client and origin speak HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

/// Which way a setup's traffic goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// client → proxy → (mTLS; HTTP/2, where it is HTTP) → proxy → origin
    TwoHops,
    /// The same without TLS.
    PlainTwoHops,
    /// client → proxy → origin
    OneHop,
}

/// A setup to be.
#[derive(Clone)]
pub struct Topology {
    pub traffic: Traffic,
    pub way: Way,
    /// What is said to Outrigger beside.
    pub options: Options,
}

impl Topology {
    pub fn two_hops(traffic: Traffic) -> Self {
        Self {
            traffic,
            way: Way::TwoHops,
            options: Options::default(),
        }
    }
}

/// A running setup; it ends when this is dropped.
pub struct Setup {
    pub peer: Peer,
    pub version: String,
    pub traffic: Traffic,
    /// Where clients connect.
    pub entry: SocketAddr,
    /// The hops: theirs is the CPU time and memory that counts.
    pub hops: Vec<Process>,
    /// Processes that are needed but not measured.
    _others: Vec<Process>,
    /// From the start of the first hop to the first answer.
    pub answered_after: Duration,
}

impl Setup {
    pub fn target(&self, body: usize) -> Target {
        Target {
            addr: self.entry,
            traffic: self.traffic,
            body,
        }
    }

    /// CPU time of all hops since their start.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.hops.iter().map(Process::cpu).sum()
    }

    /// Resident memory of the larger of the hops, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.larger(Process::resident)
    }

    /// The part of it that is no file's, of the larger of the hops, in bytes.
    pub fn anonymous(&self) -> anyhow::Result<u64> {
        self.larger(Process::anonymous)
    }

    fn larger(&self, memory: fn(&Process) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let each: anyhow::Result<Vec<_>> = self.hops.iter().map(memory).collect();
        Ok(each?.into_iter().max().unwrap_or_default())
    }
}

/// Why a setup is not there.
pub enum NotStarted {
    /// The machine lacks something: with the way to get it.
    Missing(String),
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for NotStarted {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the setups share.
pub struct Bench {
    dir: TempDir,
    pub origins: Origins,
    pub outrigger: PathBuf,
    started: Cell<u32>,
}

impl Bench {
    pub fn new(outrigger: PathBuf) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir()?;
        certificates::write(dir.path())?;
        Ok(Self {
            dir,
            origins: origin::start()?,
            outrigger,
            started: Cell::new(0),
        })
    }

    /// Starts a setup and waits until an answer has come through it.
    pub fn start(&self, peer: Peer, topology: &Topology) -> Result<Setup, NotStarted> {
        let place = self.place()?;
        let hops = match peer {
            Peer::Direct => Hops::none(place.origin(topology.traffic)),
            Peer::Outrigger => outrigger::start(&place, topology)?,
            Peer::Envoy => envoy::start(&place, topology)?,
            Peer::Haproxy => haproxy::start(&place, topology)?,
            Peer::Nginx => nginx::start(&place, topology)?,
            Peer::CopyLoop => copy_loop::start(&place, topology)?,
        };
        let mut setup = Setup {
            peer,
            version: hops.version,
            traffic: topology.traffic,
            entry: hops.entry,
            hops: hops.processes,
            _others: hops.others,
            answered_after: Duration::ZERO,
        };
        eventually(|| probe(&setup)).map_err(|error| error.context(place.logs()))?;
        setup.answered_after = hops.began.elapsed();
        Ok(setup)
    }

    /// A folder for one setup.
    pub fn place(&self) -> anyhow::Result<Place<'_>> {
        let nth = self.started.get();
        self.started.set(nth + 1);
        let dir = self.dir.path().join(nth.to_string());
        fs::create_dir(&dir)?;
        Ok(Place { bench: self, dir })
    }
}

/// What a peer's module starts.
struct Hops {
    version: String,
    entry: SocketAddr,
    processes: Vec<Process>,
    others: Vec<Process>,
    /// When the first hop was started.
    began: Instant,
}

impl Hops {
    fn none(entry: SocketAddr) -> Self {
        Self {
            version: String::new(),
            entry,
            processes: Vec::new(),
            others: Vec::new(),
            began: Instant::now(),
        }
    }
}

/// The folder of one setup, and what all share.
pub struct Place<'a> {
    pub bench: &'a Bench,
    dir: PathBuf,
}

impl Place<'_> {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What [`certificates::write`] wrote.
    fn certificate(&self, name: &str) -> PathBuf {
        self.bench.dir.path().join(name)
    }

    fn origin(&self, traffic: Traffic) -> SocketAddr {
        let origins = &self.bench.origins;
        match traffic {
            Traffic::Http1 => origins.http1,
            Traffic::Http2 | Traffic::Grpc => origins.http2,
            Traffic::Stream => origins.stream,
            Traffic::Greeting => origins.greeting,
        }
    }

    /// Starts a process whose words go to `NAME.log`.
    pub fn run(&self, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        Process::start(command, &self.path(&format!("{name}.log")))
    }

    /// What the processes said, for an error message: the folder is removed with the run.
    pub fn logs(&self) -> String {
        let mut said = String::new();
        for entry in self.dir.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let from = text.ceil_char_boundary(text.len().saturating_sub(2000));
                said += &format!("{}:\n{}", entry.file_name().display(), &text[from..]);
            }
        }
        format!("the setup does not answer; its processes said:\n{said}")
    }
}

fn probe(setup: &Setup) -> anyhow::Result<()> {
    match setup.traffic {
        Traffic::Stream | Traffic::Greeting => first_byte(setup.entry),
        _ => client::once(setup.target(1)),
    }
}

/// Tries until it works or [`START_TIMEOUT`] has passed.
pub fn eventually(attempt: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let end = Instant::now() + START_TIMEOUT;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Takes the first byte of a new connection.
pub fn first_byte(addr: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    ensure!(stream.read(&mut [0])? > 0, "closed without a byte");
    Ok(())
}

/// A program in PATH or among the system's daemons.
fn find(name: &str) -> Result<PathBuf, NotStarted> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = dirs.map(|dir| dir.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        NotStarted::Missing(format!("not installed. On Debian: apt-get install {name}"))
    })
}

/// The first version number in what a program prints.
fn version(program: &Path, arg: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(arg).output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let version = text.split([' ', '/', '\n']).find(is_version);
    let version =
        version.with_context(|| format!("{} {arg} names no version", program.display()))?;
    // Without a distribution's suffix.
    Ok(version.split('-').next().unwrap_or(version).to_owned())
}
