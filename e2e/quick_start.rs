//! README's quick start, line for line, and what a newcomer then looks for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Cluster, Wire, kubectl, mesh, shell, wait};

/// Words that begin what the shop's applications say to each other in HTTP/1.1 and HTTP/2.
const PLAINTEXT: [&[u8]; 4] = [b"GET /", b"POST /", b"HTTP/1.1 ", b"PRI * HTTP/2.0"];

/// Whether something in it could be read by whoever is on the way. What is looked for has five bytes
/// and more: three are met by chance in some megabytes of encrypted ones.
fn is_plaintext(payload: &[u8]) -> bool {
    let is_in = |word: &&[u8]| payload.windows(word.len()).any(|bytes| bytes == *word);
    // A command to Redis: an array, whose first element is a string.
    let redis = |bytes: &[u8]| matches!(bytes, [b'*', b'1'..=b'9', b'\r', b'\n', b'$']);
    PLAINTEXT.iter().any(is_in) || payload.windows(5).any(redis)
}

#[tokio::test]
async fn its_lines_give_a_shop_whose_traffic_is_encrypted_and_traced() {
    Cluster::connect().await;
    mesh::uninstall().await;
    kubectl(&["delete", "namespace", "shop", "--ignore-not-found"]).await;

    shell(&quick_start()).await;

    let pods = pods().await;
    if let Some(mut wire) = Wire::tap() {
        let mut encrypted = BTreeSet::new();
        wait::until("the pods talk to each other", wait::LONG, async || {
            for segment in wire.take() {
                let (from, to) = (segment.from.ip().to_string(), segment.to.ip().to_string());
                if !pods.contains(&from) || !pods.contains(&to) {
                    continue;
                }
                let plain = is_plaintext(&segment.payload);
                assert!(!plain, "{from} to {to}: {}", segment.payload.escape_ascii());
                encrypted.insert((from, to));
            }
            let enough = encrypted.len() >= pods.len();
            enough
                .then_some(())
                .ok_or_else(|| format!("{encrypted:?} of {pods:?}"))
        })
        .await;
    }
    wait::until("one trace through the shop", wait::LONG, whole_trace).await;
}

/// The first block of README's part on a cluster.
fn quick_start() -> String {
    let readme = include_str!("../README.md");
    let part = readme.split_once("## On a cluster").expect("the heading").1;
    let block = part.split_once("```sh\n").expect("its block").1;
    block.split_once("```").expect("its end").0.to_owned()
}

/// The addresses of the shop's pods, without those from before the restart: the last of them are
/// ending when it is done, and speak plaintext to the end.
async fn pods() -> BTreeSet<String> {
    let injected = "outrigger.dev/injected=true";
    let jsonpath = "jsonpath={.items[*].status.podIPs[*].ip}";
    let printed = kubectl(&["get", "pods", "-n", "shop", "-l", injected, "-o", jsonpath]).await;
    assert!(!printed.is_empty(), "no pod of the shop is injected");
    printed.split_whitespace().map(str::to_owned).collect()
}

/// Looks for a trace in which every service on the way of an order has spans, each below the
/// span of its caller.
async fn whole_trace() -> Result<(), String> {
    const QUERY: &str = "/api/v1/namespaces/jaeger/services/jaeger:query/proxy/api/traces\
        ?service=web&lookback=10m&limit=200";
    let found: Value = serde_json::from_str(&kubectl(&["get", "--raw", QUERY]).await)
        .map_err(|error| error.to_string())?;
    let traces = found["data"].as_array().ok_or("no traces")?;
    let mut best = Vec::new();
    for trace in traces {
        let calls = calls(trace);
        if ORDER.iter().all(|call| calls.contains(*call)) {
            return Ok(());
        }
        if calls.len() > best.len() {
            best = calls.into_iter().collect();
        }
    }
    Err(format!("{} traces, of the best: {best:?}", traces.len()))
}

/// An order's way through the shop, as caller > callee.
const ORDER: [&str; 4] = [
    "web > checkout",
    "checkout > cart",
    "checkout > catalog",
    "checkout > payment",
];

/// Which service's span is below which other's.
fn calls(trace: &Value) -> BTreeSet<String> {
    let spans = trace["spans"].as_array().into_iter().flatten();
    let service = |span: &Value| {
        let process = span["processID"].as_str().unwrap_or_default();
        trace["processes"][process]["serviceName"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let by_id: std::collections::HashMap<_, _> = spans
        .clone()
        .map(|span| (span["spanID"].as_str().unwrap_or_default(), span))
        .collect();
    spans
        .filter_map(|span| {
            let reference = span["references"].as_array()?.first()?;
            let parent = by_id.get(reference["spanID"].as_str()?)?;
            let (caller, callee) = (service(parent), service(span));
            (caller != callee).then(|| format!("{caller} > {callee}"))
        })
        .collect()
}
