//! What is measured: each setup is an address that reaches an origin, and the processes between.

mod copy_loop;
mod envoy;
mod haproxy;
mod outrigger;

use std::{
    env, fmt,
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

use crate::{
    certificates, http,
    origin::{self, Origins},
    process::Process,
};

/// How long a setup may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Direct,
    Outrigger,
    Envoy,
    Haproxy,
    OutriggerTcp,
    CopyLoop,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Outrigger,
        Self::Envoy,
        Self::Haproxy,
        Self::OutriggerTcp,
        Self::CopyLoop,
    ];

    pub fn traffic(self) -> Traffic {
        match self {
            Self::Direct | Self::Outrigger | Self::Envoy | Self::Haproxy => Traffic::Http,
            Self::OutriggerTcp | Self::CopyLoop => Traffic::Stream,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Outrigger | Self::OutriggerTcp => "Outrigger",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::CopyLoop => "rustls copy loop",
        })
    }
}

/// What a setup is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Http,
    /// Opaque TCP in which the server speaks first.
    Stream,
}

/// A running setup; it ends when this is dropped.
pub struct Setup {
    pub kind: Kind,
    pub version: String,
    /// Where clients connect.
    pub entry: SocketAddr,
    /// The two hops: theirs is the CPU time and memory that counts.
    pub hops: Vec<Process>,
    /// Processes that are needed but not measured.
    _others: Vec<Process>,
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
    origins: Origins,
    outrigger: PathBuf,
}

impl Bench {
    pub fn new(outrigger: PathBuf) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("two-hops-").tempdir()?;
        certificates::write(dir.path())?;
        Ok(Self {
            dir,
            origins: origin::start()?,
            outrigger,
        })
    }

    /// Starts a setup and waits until an answer has come through it.
    pub fn start(&self, kind: Kind) -> Result<Setup, NotStarted> {
        let setup = match kind {
            Kind::Direct => Setup {
                kind,
                version: String::new(),
                entry: self.origins.http,
                hops: Vec::new(),
                _others: Vec::new(),
            },
            Kind::Outrigger | Kind::OutriggerTcp => outrigger::start(self, kind)?,
            Kind::Envoy => envoy::start(self)?,
            Kind::Haproxy => haproxy::start(self)?,
            Kind::CopyLoop => copy_loop::start(self)?,
        };
        wait_until_answering(&setup).map_err(|error| error.context(self.logs()))?;
        Ok(setup)
    }

    fn origin(&self, kind: Kind) -> SocketAddr {
        match kind.traffic() {
            Traffic::Http => self.origins.http,
            Traffic::Stream => self.origins.stream,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the processes said, for an error message: the folder is removed with this.
    fn logs(&self) -> String {
        let mut said = String::new();
        for entry in self.dir.path().read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                said += &format!("{}:\n{text}", entry.file_name().display());
            }
        }
        format!("the setup does not answer; its processes said:\n{said}")
    }
}

fn wait_until_answering(setup: &Setup) -> anyhow::Result<()> {
    let probe = || match setup.kind.traffic() {
        Traffic::Http => http::once(setup.entry),
        Traffic::Stream => first_byte(setup.entry),
    };
    eventually(probe)
}

/// Tries until it works or [`START_TIMEOUT`] has passed.
fn eventually(attempt: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let end = Instant::now() + START_TIMEOUT;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn first_byte(addr: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    ensure!(stream.peek(&mut [0])? > 0, "closed without a byte");
    Ok(())
}

/// A program in PATH or among the system's daemons.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(["/usr/sbin".into()]);
    dirs.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The first version number in what a program prints.
fn version(program: &Path, arg: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(arg).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let version = text.split([' ', '/', '\n']).find(is_version);
    let version =
        version.with_context(|| format!("{} {arg} names no version", program.display()))?;
    // Without a distribution's suffix.
    Ok(version.split('-').next().unwrap_or(version).to_owned())
}
