//! h2specd, h2spec's other half: a server that breaks the rules in another way on each of its
//! ports, against the side of the proxy that is a client. The application asks for a port by a
//! header, and a route leads there.

use std::fs;

use super::report;
use crate::{
    harness::{run, tools::command, tools::tool},
    policies::setup::{Place, service},
};

/// An address where nobody else has a port.
const HOST: &str = "127.7.7.7";
const FIRST_PORT: u16 = 30_000;
/// As many as there may be cases; each has a port of its own.
const PORTS: u16 = 80;

/// Cases that a proxy fails, and why that is right or not ours.
const KNOWN: &[(&str, &str)] = &[
    (
        "closed: Sends a DATA frame",
        "RST_STREAM with STREAM_CLOSED: the stream is at fault, and others share the connection",
    ),
    ("closed: Sends a HEADERS frame", "the same"),
    (
        "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
        "not counted once the request has ended: nothing is sent on the stream any more",
    ),
];

/// For each port a service, and a route to it.
fn services() -> String {
    let ports = FIRST_PORT..FIRST_PORT + PORTS;
    let route = |port| {
        format!(
            "{{name: it/c{port}, matches: [{{headers: [{{name: x-case, value: \"{port}\"}}]}}],
             backends: [{{service: \"it/c{port}:80\"}}]}}"
        )
    };
    let routes: Vec<_> = ports.clone().map(route).collect();
    // Each port is to see one connection, and what a broken one means is for this test to say.
    let once = "policy: {retry: {attempts: 0}, breaker: {enabled: false}}";
    let case = |port| {
        let addr = format!("{HOST}:{port}").parse().expect("an address");
        service(&format!("c{port}"), &[addr], once)
    };
    let cases: String = ports.map(case).collect();
    let all = service("app", &[], &format!("routes: [{}]", routes.join(", "))) + &cases;
    all.replace("protocol: http}", "protocol: http2}")
}

/// The cases that failed by their titles, and the summary.
fn read(output: &str) -> (Vec<String>, String) {
    let (cases, rest) = output.split_once("Failures:").unwrap_or((output, output));
    let failed = cases.lines().filter_map(|line| {
        let (_, case) = line.split_once('×')?;
        let title = case.split_once(": ")?.1;
        Some(title.split('\x1b').next().unwrap_or(title).to_owned())
    });
    let summary = rest.lines().find(|line| line.contains(" tests, "));
    (failed.collect(), summary.unwrap_or_default().to_owned())
}

#[test]
fn h2specd_finds_nothing_at_the_proxys_client() {
    let mesh = Place::new().start(&services());
    let dir = tempfile::tempdir().expect("a place for a script");
    let script = dir.path().join("ask");
    let curl = tool("curl").display().to_string();
    let ask = format!(
        "port=${{1##*:}}
         exec {curl} -s -m 2.5 --http2-prior-knowledge -H \"x-case: ${{port%/}}\" http://{}/\n",
        mesh.addr()
    );
    fs::write(&script, ask).expect("an own folder");
    let mut h2specd = command("h2specd");
    h2specd.args(["--host", HOST, "--from-port", &FIRST_PORT.to_string()]);
    h2specd.args(["--exec", &format!("sh {}", script.display())]);
    let ran = run(&mut h2specd);
    let (failed, summary) = read(&ran.text());
    report::write(
        "21-h2specd",
        "HTTP/2: h2specd",
        &document(&failed, &summary),
    );
    let counted: usize = summary
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no summary: {ran}"));
    assert!(counted >= 57, "{summary}");
    let known: Vec<_> = KNOWN.iter().map(|(case, _)| *case).collect();
    assert_eq!(failed, known, "{ran}");
}

fn document(failed: &[String], summary: &str) -> String {
    let known = KNOWN
        .iter()
        .filter(|(case, _)| failed.iter().any(|failed| failed == case));
    let known = known.map(|(case, why)| vec![(*case).to_owned(), (*why).to_owned()]);
    format!(
        "A server that breaks the rules, and the proxy as its client: {summary}.\n\n\
         Known deviations:\n\n{}",
        report::table(&["case", "why"], known)
    )
}
