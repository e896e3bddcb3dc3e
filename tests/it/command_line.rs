//! What the commands say, and to whom.

use std::process::{Command, Stdio};

use crate::harness::{Process, run, wait};

fn outrigger(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(args);
    command
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    let registry = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/manifests/registry.example.yaml"
    );
    for args in [
        &["token"][..],
        &["init", "--proxy-uid", "14014", "--print"],
        &["controller", "--registry", registry, "--check"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = outrigger(args);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_cause_is_said_once() {
    let said = run(&mut outrigger(&["inject", "--config", "/none", "-f", "-"])).stderr;
    assert_eq!(
        said,
        "outrigger: /none cannot be read: No such file or directory (os error 2): is the \
         ConfigMap outrigger-config mounted?\n"
    );
}

/// Nothing asks for it until somebody wants to change something, in need.
#[test]
fn a_token_file_that_is_missing_is_said_at_the_start() {
    let mut command = outrigger(&["proxy", "--identity", "spiffe://mesh.test/ns/it/sa/a"]);
    command.args([
        "--no-intercept",
        "--forward",
        "inbound:127.0.0.1:0=127.0.0.1:1",
    ]);
    command.args(["--controller", "127.0.0.1:1", "--admin", "127.0.0.1:0"]);
    command.args(["--trust-anchors", "/none", "--token-file", "/none"]);
    command.args(["--admin-token-file", "/none/admin.token"]);
    let proxy = Process::start("proxy", &mut command);
    wait::until("the file is missed", || {
        let log = proxy.log();
        log.contains("the admin token file is of no use") && log.contains("/none/admin.token")
    });
}
