//! The nodes themselves, where they are network namespaces of this machine.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::cluster;

/// A second node, until this is dropped.
pub struct SecondNode(());

/// Adds a node. `None`, with a word about it, where the nodes are other machines.
pub fn second_node() -> Option<SecondNode> {
    if cluster::networks().is_empty() {
        eprintln!("left out: needs a cluster that e2e/cluster has built, to add a node to it");
        return None;
    }
    // Removed too when only half of it came up.
    let node = SecondNode(());
    let up = run(&["up", "--nodes", "2"]);
    assert!(up.status.success(), "no second node: {up:?}");
    Some(node)
}

impl SecondNode {
    pub fn name(&self) -> &'static str {
        "node2"
    }
}

impl Drop for SecondNode {
    fn drop(&mut self) {
        // A panic while another unwinds would end the process without a word.
        let down = run(&["down", "2"]);
        if !down.status.success() {
            eprintln!("the second node is still there: {down:?}");
        }
    }
}

fn run(arguments: &[&str]) -> Output {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/cluster");
    let output = Command::new(program).args(arguments).output();
    output.expect("e2e/cluster is in the checkout")
}

/// Kills, without a word, the processes in pods whose command line ends with `command`, and says
/// how many there were: none where the nodes are other machines.
pub fn kill_on_nodes(command: &str) -> usize {
    if cluster::networks().is_empty() {
        return 0;
    }
    let processes = fs::read_dir("/proc").expect("this is Linux");
    let processes = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes
        .filter(|pid| is_in_pod(pid, command) && kill(pid))
        .count()
}

fn is_in_pod(pid: &str, command: &str) -> bool {
    let process = Path::new("/proc").join(pid);
    let read = |file| fs::read_to_string(process.join(file)).unwrap_or_default();
    let line = read("cmdline").trim_end_matches('\0').replace('\0', " ");
    line.ends_with(command) && read("cgroup").contains("kubepods")
}

fn kill(pid: &str) -> bool {
    let done = Command::new("kill").args(["-KILL", pid]).status();
    done.is_ok_and(|status| status.success())
}
