//! h2spec, every case in strict mode too, against both listeners of a mesh, and against the
//! origin behind it.

use std::{fs, net::SocketAddr};

use super::report;
use crate::harness::{Mesh, apps, mesh::Plan, run, tools::command};

/// Cases that a listener fails, and why that is right or not ours.
const KNOWN: &[(&str, &str)] = &[(
    "http2/3.5 Sends invalid connection preface",
    "the listener takes HTTP/1.1 too: it answers 400 in that, and closes",
)];

struct Case {
    /// Its section and its title.
    name: String,
    result: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
}

/// Runs the suite against a server that speaks HTTP/2 with prior knowledge.
fn suite(addr: SocketAddr) -> Vec<Case> {
    let dir = tempfile::tempdir().expect("a place for a report");
    let report = dir.path().join("report.xml");
    let mut h2spec = command("h2spec");
    h2spec
        .arg("--strict")
        .args(["--host", "127.0.0.1", "--timeout", "2", "--port"]);
    h2spec
        .arg(addr.port().to_string())
        .arg("--junit-report")
        .arg(&report);
    let ran = run(&mut h2spec);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {ran}"));
    let cases: Vec<_> = text.split("<testcase ").skip(1).map(Case::read).collect();
    assert!(cases.len() >= 140, "{} cases: {ran}", cases.len());
    cases
}

impl Case {
    /// From JUnit's XML: what follows `<testcase `.
    fn read(text: &str) -> Self {
        let attribute = |name: &str| {
            let (_, rest) = text
                .split_once(&format!("{name}=\""))
                .expect("h2spec names it");
            rest.split_once('"').expect("a closed attribute").0
        };
        let inside = text
            .split_once("</testcase>")
            .map_or(text, |(inside, _)| inside);
        let is = |tag: &str| inside.contains(&format!("<{tag}"));
        let result = match (is("failure") || is("error"), is("skipped")) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Skipped,
            (false, false) => Outcome::Passed,
        };
        let title = attribute("classname")
            .replace("&#39;", "'")
            .replace("&#34;", "\"");
        Self {
            name: format!("{} {title}", attribute("package")),
            result,
        }
    }
}

#[test]
fn h2spec_finds_nothing_at_either_listener() {
    let app = apps::nghttpd(&[(
        "index.html",
        b"hello from nghttpd, long enough for windows\n",
    )]);
    let mesh: Mesh = Plan::new(app.addr).protocol("http2").start();
    let runs = [
        ("nghttpd, directly", suite(app.addr)),
        ("outbound listener", suite(mesh.addr)),
        ("inbound listener", suite(mesh.inbound)),
    ];
    report::write("20-h2spec", "HTTP/2: h2spec", &document(&runs));
    let mut wrong = Vec::new();
    for (listener, cases) in &runs[1..] {
        for case in cases {
            let known = KNOWN.iter().any(|(name, _)| case.name == *name);
            if known != (case.result == Outcome::Failed) {
                wrong.push(format!("{listener}: {}: {:?}", case.name, case.result));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn document(runs: &[(&str, Vec<Case>)]) -> String {
    let rows = runs.iter().map(|(server, cases)| {
        let count = |outcome| cases.iter().filter(|case| case.result == outcome).count();
        let failed: Vec<_> = cases
            .iter()
            .filter(|case| case.result == Outcome::Failed)
            .map(|case| case.name.clone())
            .collect();
        vec![
            (*server).to_owned(),
            count(Outcome::Passed).to_string(),
            count(Outcome::Skipped).to_string(),
            count(Outcome::Failed).to_string(),
            failed.join("; "),
        ]
    });
    let known = KNOWN
        .iter()
        .map(|(case, why)| vec![(*case).to_owned(), (*why).to_owned()]);
    let mut text = report::table(
        &["server", "passed", "skipped", "failed", "failed cases"],
        rows,
    );
    if !KNOWN.is_empty() {
        text += "\nKnown deviations:\n\n";
        text += &report::table(&["case", "why"], known);
    }
    text
}
