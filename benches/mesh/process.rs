//! Processes under measurement: started, watched by way of /proc, and ended with their owner.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

/// A running process that ends when this is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; what it says goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self { child })
    }

    /// The same for one that is spoken to.
    pub fn start_with_pipes(
        command: &mut Command,
        log: &Path,
    ) -> anyhow::Result<(Self, ChildStdin, ChildStdout)> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let process = Self { child };
        let (input, output) = pipes.context("a process without pipes")?;
        Ok((process, input, output))
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself; there is nothing to do about that here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The time that its threads have run: of those that live, to the nanosecond.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end meanwhile.
            let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let ran = stat
                .split_whitespace()
                .next()
                .context("an empty schedstat")?;
            nanoseconds += ran.parse::<u64>()?;
        }
        anyhow::ensure!(
            nanoseconds > 0,
            "the process has ended, or /proc has no schedstat"
        );
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The part of it that is no file's, in bytes: what each further process costs a machine, for
    /// pages of the program are shared by all that run it.
    pub fn anonymous(&self) -> anyhow::Result<u64> {
        self.memory("RssAnon:")
    }

    /// The most that was ever resident.
    pub fn most_resident(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.with_context(|| format!("no {field}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address on loopback whose port is free now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// 10,000 connections need more descriptors than the usual soft limit of 1,024.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        eprintln!(
            "warning: the descriptor limit stays at {:?}: {error}",
            limit.current
        );
    }
}
