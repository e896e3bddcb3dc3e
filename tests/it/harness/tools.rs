//! The foreign software that the tests talk to. Missing software is a failure that names the
//! command which installs it: a test that skips itself proves nothing.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::process::run;

/// Where `scripts/test-tools` puts what no package has.
fn tools_dir() -> PathBuf {
    if let Some(dir) = env::var_os("OUTRIGGER_TEST_TOOLS") {
        return dir.into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("outrigger/test-tools")
}

/// Where a program is.
///
/// # Panics
/// When it is not installed.
pub fn tool(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = vec![tools_dir().join("bin")];
    dirs.extend(env::split_paths(&path));
    // Daemons are there, which a user's PATH leaves out.
    dirs.extend(["/usr/sbin".into(), "/usr/lib/postgresql/15/bin".into()]);
    dirs.extend(postgres_dirs());
    let found = dirs
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| missing(name))
}

/// Debian keeps every version's server programs in a folder of its own.
fn postgres_dirs() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect()
}

/// The library that tells a process another time.
pub fn faketime() -> PathBuf {
    const LIBRARY: &str = "faketime/libfaketime.so.1";
    let by_machine = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let found = by_machine
        .map(|machine| machine.path().join(LIBRARY))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| missing("libfaketime"))
}

fn missing(what: &str) -> ! {
    panic!("{what} is not installed: run scripts/test-tools (as root, on Debian)")
}

pub fn command(name: &str) -> Command {
    let mut command = Command::new(tool(name));
    command.stdin(Stdio::null());
    command
}

/// Python with the packages of Debian; a Python from elsewhere does not see those.
pub fn python(script: &str) -> Command {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let candidates = [PathBuf::from("/usr/bin/python3"), tool("python3")];
        let has_modules = |python: &PathBuf| {
            let mut probe = Command::new(python);
            probe
                .args(["-c", "import aiosmtpd, websockets"])
                .stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        };
        candidates
            .into_iter()
            .find(has_modules)
            .unwrap_or_else(|| missing("Python with aiosmtpd and websockets"))
    });
    let mut command = Command::new(python);
    command.stdin(Stdio::null()).arg("-u").arg(source(script));
    command
}

/// A file beside this test's own.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/apps")
        .join(name)
}

/// The origin in Go, built once.
pub fn go_origin() -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    Command::new(BUILT.get_or_init(|| go_build("origin.go")))
}

/// The program that writes down how a request was read, built once.
pub fn go_reading() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| go_build("reading.go"))
}

/// Builds a program that needs nothing but the standard library.
fn go_build(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace('.', "-"));
    let mut build = command("go");
    build.arg("build").arg("-o").arg(&binary).arg(source(name));
    // Not part of anybody's module or workspace.
    build
        .env("GO111MODULE", "off")
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    run(&mut build).success();
    binary
}
