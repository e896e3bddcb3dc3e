//! Processes that end with the test, and show what they said when it fails.

use std::{
    fmt, fs,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::NamedTempFile;

use super::wait;

/// The end of a log is where the reason is.
const SHOWN: usize = 12_000;

/// A process of the test's, with all that it starts itself.
pub struct Process {
    name: String,
    child: Child,
    log: NamedTempFile,
    end: Signal,
}

impl Process {
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let log = NamedTempFile::new().expect("a place for a log");
        let out = || {
            Stdio::from(
                log.reopen()
                    .and_then(append)
                    .expect("a log can be opened twice"),
            )
        };
        command
            .stdin(Stdio::null())
            .stdout(out())
            .stderr(out())
            .process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
            end: Signal::KILL,
        }
    }

    /// Ends by `signal` instead of a kill: for servers that must take their children along.
    pub fn ended_by(mut self, signal: Signal) -> Self {
        self.end = signal;
        self
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal)
            .expect("a process that has not been waited for can be signalled");
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("an own child can be waited for")
    }

    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait::until_some(&what, || self.exited())
    }

    /// Ends it, if it has not ended by itself.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            self.signal(Signal::KILL);
            self.wait();
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// The most memory that it ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("Linux counts it");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB");
        kib * 1024
    }

    /// What it has resident now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if running {
            if self.end != Signal::KILL && kill_process(self.pid(), self.end).is_ok() {
                wait::until(&format!("{} ends", self.name), || {
                    !matches!(self.child.try_wait(), Ok(None))
                });
            }
            // Whatever it left behind is in its group. A group that is empty already is no error.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let from = log.ceil_char_boundary(log.len().saturating_sub(SHOWN));
            eprintln!(
                "---- {} (running: {running}) ----\n{}",
                self.name,
                &log[from..]
            );
        }
    }
}

fn append(mut file: fs::File) -> std::io::Result<fs::File> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::APPEND)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// What a program that ran to its end has said.
pub struct Ran {
    what: String,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// # Panics
    /// When the program failed.
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.stdout[..self.stdout.len().min(SHOWN)];
        writeln!(f, "{}\n{}", self.what, self.status)?;
        write!(
            f,
            "stdout: {}\nstderr: {}",
            String::from_utf8_lossy(shown),
            self.stderr
        )
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it does not end in time.
pub fn run(command: &mut Command) -> Ran {
    let what = format!("{command:?}");
    let mut out = tempfile::tempfile().expect("a place for output");
    let mut err = tempfile::tempfile().expect("a place for output");
    let stdio =
        |file: &fs::File| Stdio::from(file.try_clone().expect("a file can be opened twice"));
    command.stdout(stdio(&out)).stderr(stdio(&err));
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::until_some(&what, || {
            child.try_wait().expect("an own child can be waited for")
        })
    }));
    let read = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .expect("what was written can be read");
        bytes
    };
    let stdout = read(&mut out);
    let stderr = String::from_utf8_lossy(&read(&mut err)).into_owned();
    match ended {
        Ok(status) => Ran {
            what,
            status,
            stdout,
            stderr,
        },
        Err(late) => {
            let _ = child.kill();
            let _ = child.wait();
            eprintln!(
                "{what}\nstdout: {}\nstderr: {stderr}",
                String::from_utf8_lossy(&stdout)
            );
            std::panic::resume_unwind(late)
        }
    }
}
