//! The programs that users type, run as they would.

use std::{env, process::Stdio, thread};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{cluster, namespace::Ran};

/// Runs kubectl and returns what it printed.
///
/// # Panics
/// When it fails, with all it said.
pub async fn kubectl(arguments: &[&str]) -> String {
    run(program("kubectl").args(arguments), "").await
}

/// Runs a program to its end, whatever that is.
pub async fn output(name: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = program(name);
    command.args(arguments).stdin(Stdio::null());
    command.output().await.expect("env is everywhere")
}

/// Runs helm and returns what it printed.
///
/// # Panics
/// When it fails, with all it said.
pub async fn helm(arguments: &[&str]) -> String {
    run(program("helm").args(arguments), "").await
}

/// Runs lines as a person would type them in the checkout, and stops at the first that fails.
///
/// # Panics
/// When one does.
pub async fn shell(lines: &str) -> String {
    let mut command = program("bash");
    command.arg("-euxo").arg("pipefail").arg("-c").arg(lines);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    run(&mut command, "").await
}

/// Runs this checkout's own `outrigger`, which may fail.
pub async fn outrigger(arguments: &[&str]) -> Ran {
    let ran = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(arguments)
        .env("KUBECONFIG", cluster::kubeconfig())
        .kill_on_drop(true)
        .output()
        .await
        .expect("cargo has built it");
    Ran {
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
        success: ran.status.success(),
    }
}

/// `kubectl apply` of the manifests in `yaml`.
pub(super) async fn apply(namespace: &str, yaml: &str) {
    let mut command = program("kubectl");
    command.args(["apply", "--namespace", namespace, "--filename", "-"]);
    run(&mut command, yaml).await;
}

/// A program that talks to the tests' cluster, whatever the environment says.
pub(super) fn program(name: &str) -> Command {
    let mut path = cluster::programs().into_os_string();
    if let Some(rest) = env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let mut command = Command::new("/usr/bin/env");
    command
        .arg(name)
        .env("PATH", path)
        .env("KUBECONFIG", cluster::kubeconfig());
    command
}

/// kubectl, waited for without a runtime, which `drop` has not. What it prints is shown when it
/// fails and when the test did.
pub(super) fn kubectl_now(arguments: &[&str]) {
    let mut command = program("kubectl").into_std();
    match command.args(arguments).stdin(Stdio::null()).output() {
        Ok(done) if done.status.success() && !thread::panicking() => {}
        Ok(done) => eprintln!(
            "kubectl {}: {}\n{}{}",
            arguments.join(" "),
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        ),
        Err(error) => eprintln!("kubectl {}: {error}", arguments.join(" ")),
    }
}

async fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("env is everywhere");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may end without reading; then its output says why.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("a child of ours");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{:?}: {}\n{stdout}{}",
        command.as_std(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
