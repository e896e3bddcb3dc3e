//! The page that `docs/benchmarks` shows.

use clap::ValueEnum;

use super::{Report, plots::Drawn, table::Table};
use crate::{
    results::{Metric, Part},
    setup::Peer,
};

/// Differences below this share are noise.
const NOISE: f64 = 0.02;

const HOW: &str = "\
Everything runs on one machine, over loopback: the clients, the proxies, the origin. A setup is \
**client → proxy → (mTLS) → proxy → origin**, with one worker thread for each proxy; between the \
hops HTTP travels over HTTP/2 (nginx: HTTP/1.1, but for gRPC). In every round each setup is \
measured once, one after the other, so that what disturbs the machine disturbs all of them; a \
cell is the median of the rounds, with the lowest and the highest.

- *CPU* is the time that both hops' threads ran, divided by the requests: it says what a proxy \
costs, and depends little on what else the machine does. *Requests/s* on one machine is bounded by \
clients and origin too, which share its cores.
- *Latency at a fixed rate* is counted from when a request was due, not from when it was sent: a \
late answer does not excuse the requests behind it (no coordinated omission).
- Outrigger has on what users have on: mTLS with identities that are verified on both ends, \
breakers, bulkheads, retry budget, timeouts, metrics, and traces for 1 % of the requests. The \
bulkheads have places for 1,024 exchanges instead of 256, since up to 512 are under way. The peers \
terminate and originate the same TLS 1.3 with client certificates, and have their defaults \
otherwise: they do less.
- Each HTTP/2 and gRPC connection of a client has one exchange under way at a time.
- *Direct* is client and origin without any proxy. The *rustls copy loop* is tokio's copy with \
rustls at both ends and nothing else: what TLS itself costs, and for latency the floor, since \
every proxy puts two processes between client and origin.
- The *control plane* is the controller's code with a synthetic cluster in place of Kubernetes' \
watches; the proxies are its own discovery client, one TLS connection each, in this program. In \
the storm, the controller is killed and started anew, and all come back at once; meanwhile \
requests go through two proxies of the same mesh.
";

pub fn markdown(report: &Report, plots: &[Drawn]) -> String {
    let machine = &report.machine;
    let mut page = format!(
        "# Benchmarks\n\n`{}` wrote this page and its plots, on {} cores ({}), {:.0} GB of memory, \
         Linux {}; load average at the start {:.1}. {} rounds of {} s.\n\n",
        report.command,
        machine.cores,
        machine.cpu,
        machine.memory_gb,
        machine.kernel,
        machine.load_at_start,
        report.rounds,
        report.seconds,
    );
    page += &format!("Measured: {}.", versions(report));
    for (peer, why) in &report.results.skipped {
        page += &format!(" {peer} was skipped: {why}.");
    }
    page += &format!("\n\n## How\n\n{HOW}\n## Targets\n\n");
    page += "| | measured | target | |\n|---|--:|--:|---|\n";
    for target in &report.targets {
        page += &format!(
            "| {} | {} | {} | {} |\n",
            target.name(),
            target.value(),
            target.bound(),
            target.verdict()
        );
    }
    page +=
        "\n\"Not judged\" is what was not measured, or what this machine has too few cores for.\n";
    page += &format!("\n## Where a peer wins\n\n{}", wins(report));
    let tables = Table::all(&report.results);
    for part in Part::value_variants() {
        let Some(table) = tables.iter().find(|table| table.part == *part) else {
            continue;
        };
        page += &format!("\n## {}\n\n", part.title());
        for plot in plots.iter().filter(|plot| plot.part == *part) {
            page += &format!("![{}]({})\n\n", plot.title, plot.file);
        }
        page += &table.markdown();
    }
    if !report.is_whole() {
        page += "\n## Not measured\n\n";
        for failure in &report.results.failures {
            let first = failure.lines().next().unwrap_or_default();
            page += &format!("- {first}\n");
        }
    }
    page
}

fn versions(report: &Report) -> String {
    let versions = report.results.versions.iter();
    let named = versions.map(|(peer, version)| format!("{peer} {version}").trim_end().to_owned());
    named.collect::<Vec<_>>().join(", ")
}

/// What a peer does better, whatever it leaves out.
fn wins(report: &Report) -> String {
    let results = &report.results;
    let peers = [Peer::Envoy, Peer::Haproxy, Peer::Nginx].map(|peer| peer.to_string());
    let ours = Peer::Outrigger.to_string();
    let mut rows = String::new();
    for entry in results.entries.iter().filter(|entry| entry.setup == ours) {
        let (part, case, metric) = (entry.part, &entry.case, entry.metric);
        let Some(own) = results.median(part, case, &ours, metric) else {
            continue;
        };
        for peer in &peers {
            let Some(theirs) = results.median(part, case, peer, metric) else {
                continue;
            };
            if is_better(theirs, own, metric) {
                let (heading, decimals) = metric.form();
                rows += &format!(
                    "| {} | {case} | {heading} | {peer} {theirs:.decimals$} | {own:.decimals$} |\n",
                    part.title()
                );
            }
        }
    }
    if rows.is_empty() {
        return "Nowhere in this run.\n".into();
    }
    format!("| | | | peer | Outrigger |\n|---|---|---|--:|--:|\n{rows}")
}

fn is_better(theirs: f64, own: f64, metric: Metric) -> bool {
    if metric.more_is_better() {
        theirs > own * (1.0 + NOISE)
    } else {
        theirs < own * (1.0 - NOISE)
    }
}
