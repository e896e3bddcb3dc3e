//! One proxy as a process, and what the system around it is like.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Process, Response, Wire, free_addr,
    mesh::TRUST_DOMAIN,
    tools::{command, faketime, tool},
    wait,
};

/// What a proxy keeps its snapshot on.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Disk {
    #[default]
    Good,
    Full,
    ReadOnly,
}

/// What the system is like for a proxy.
#[derive(Clone, Default)]
pub struct Around {
    /// The limit on open files.
    pub open_files: Option<u32>,
    /// The limit on address space, in bytes.
    pub address_space: Option<u64>,
    /// The proxy's wall clock is as far off as the file `NAME.clock` says.
    pub own_clock: bool,
    /// The disk for the snapshot.
    pub disk: Disk,
    /// A program that runs the proxy inside itself, with its arguments; `NAME` in them stands for
    /// the proxy's name.
    pub inside: Vec<String>,
    /// The proxy to run, where it is not the one that was built with the tests.
    pub binary: Option<PathBuf>,
}

/// One `outrigger proxy`, which can be started again.
pub struct Proxy {
    pub process: Process,
    admin: SocketAddr,
    name: &'static str,
    args: Vec<String>,
    dir: PathBuf,
    around: Around,
}

impl Proxy {
    /// Starts it, and waits until it is ready.
    pub fn start(
        name: &'static str,
        forward: &str,
        dir: &Path,
        controller: SocketAddr,
        more: &[String],
        around: &Around,
    ) -> Self {
        let mut proxy = Self::launch(name, forward, dir, controller, more, around);
        proxy.until_ready();
        proxy
    }

    /// Starts it, and waits for nothing.
    pub fn launch(
        name: &'static str,
        forward: &str,
        dir: &Path,
        controller: SocketAddr,
        more: &[String],
        around: &Around,
    ) -> Self {
        let admin = free_addr();
        let file = |file: &str| dir.join(file).display().to_string();
        let mut args: Vec<String> = ["--no-intercept", "--forward", forward]
            .map(Into::into)
            .into();
        if !more.iter().any(|arg| arg == "--trace-ratio") {
            args.extend(["--trace-ratio".into(), "1".into()]);
        }
        if !more.iter().any(|arg| arg == "--identity") {
            let identity = format!("spiffe://{TRUST_DOMAIN}/ns/it/sa/{name}");
            args.extend(["--identity".into(), identity]);
        }
        args.extend(["--admin".into(), admin.to_string()]);
        if !more.iter().any(|arg| arg == "--controller") {
            args.extend(["--controller".into(), controller.to_string()]);
        }
        args.extend([
            "--trust-anchors".into(),
            file("ca/root.pem"),
            "--token-file".into(),
            file(&token_file(name)),
        ]);
        args.extend(["--snapshot-dir".into(), file(&snapshot_dir(name))]);
        args.extend(more.iter().cloned());
        if around.own_clock {
            set_clock(dir, name, "+0s");
        }
        let process = start_proxy(name, &args, dir, around);
        Self {
            process,
            admin,
            name,
            args,
            dir: dir.to_owned(),
            around: around.clone(),
        }
    }

    /// Another with the same arguments, beside it.
    pub fn another(&self) -> Process {
        start_proxy(self.name, &self.args, &self.dir, &self.around)
    }

    /// Starts it again, with nothing but what it left on disk.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = start_proxy(self.name, &self.args, &self.dir, &self.around);
        self.until_ready();
    }

    /// Waits until what it knows is on disk.
    pub fn until_saved(&self) {
        let at = self
            .args
            .iter()
            .position(|arg| arg == "--snapshot-dir")
            .expect("always given");
        let snapshot = Path::new(&self.args[at + 1]).join("discovery.json");
        let saved = || fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("it/app:80"));
        wait::until("the snapshot is written", saved);
    }

    /// Waits until its certificate is on disk.
    pub fn until_certified(&self) {
        let dir = self.dir.join(snapshot_dir(self.name));
        wait::until("the identity is kept", || {
            fs::read_dir(&dir).is_ok_and(|mut files| files.next().is_some())
        });
    }

    fn until_ready(&mut self) {
        let what = format!("the {}'s proxy is ready", self.name);
        wait::until(&what, || {
            assert!(
                self.process.exited().is_none(),
                "it ended: {}",
                self.process.log()
            );
            self.admin("/ready")
                .is_some_and(|answer| answer.status == 200)
        });
    }

    /// # Panics
    /// When the admin port does not answer.
    pub fn metrics(&self) -> String {
        self.admin("/metrics")
            .expect("the admin port answers")
            .text()
    }

    /// What the admin port shows under a path.
    pub fn admin(&self, path: &str) -> Option<Response> {
        let mut wire = Wire::try_connect(self.admin).ok()?;
        wire.try_send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))
            .ok()?;
        wire.try_response("GET").ok()
    }
}

pub fn token_file(name: &str) -> String {
    format!("{name}.token")
}

pub fn set_clock(dir: &Path, name: &str, offset: &str) {
    fs::write(dir.join(clock_file(name)), offset).expect("an own folder");
}

fn clock_file(name: &str) -> String {
    format!("{name}.clock")
}

fn start_proxy(name: &str, args: &[String], dir: &Path, around: &Around) -> Process {
    let mut command = on_disk(around.disk, &dir.join(snapshot_dir(name)));
    limit(&mut command, around);
    command.args(around.inside.iter().map(|arg| arg.replace("NAME", name)));
    let built = Path::new(env!("CARGO_BIN_EXE_outrigger"));
    command.arg(around.binary.as_deref().unwrap_or(built));
    if around.own_clock {
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", dir.join(clock_file(name)))
            // The file is looked at whenever the time is; what measures durations is left alone.
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Process::start(&format!("{name}'s proxy"), command.arg("proxy").args(args))
}

fn snapshot_dir(name: &str) -> String {
    format!("{name}-snapshot")
}

/// What starts a program in place of itself, with a disk of its own mounted on `dir`.
fn on_disk(disk: Disk, dir: &Path) -> Command {
    const FULL: &str =
        r#"mount -t tmpfs -o size=4k tmpfs "$0"; cat /dev/zero >"$0/full" 2>/dev/null; exec "$@""#;
    const READ_ONLY: &str = r#"mount -t tmpfs -o ro tmpfs "$0" && exec "$@""#;
    let script = match disk {
        Disk::Good => return command("env"),
        Disk::Full => FULL,
        Disk::ReadOnly => READ_ONLY,
    };
    fs::create_dir_all(dir).expect("an own folder");
    let mut unshare = command("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", script]);
    unshare.arg(dir);
    unshare
}

fn limit(command: &mut Command, around: &Around) {
    if around.open_files.is_none() && around.address_space.is_none() {
        return;
    }
    command.arg(tool("prlimit"));
    if let Some(files) = around.open_files {
        command.arg(format!("--nofile={files}:{files}"));
    }
    if let Some(bytes) = around.address_space {
        command.arg(format!("--as={bytes}:{bytes}"));
    }
}
