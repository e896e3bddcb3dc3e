//! Breakers, fallbacks and bulkheads between real pods.

use crate::harness::{Cluster, Load, Moody, Namespace, mesh, wait};

/// The document's promise for a pod that begins to fail, in seconds.
const TRIPS_WITHIN: f64 = 2.0;

const POLICY: &str = "
apiVersion: outrigger.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: back}
spec:
  targetRefs: [{group: '', kind: Service, name: back}]
  fallback:
  - static: {status: 200, body: 'from the fallback'}
";

#[tokio::test]
async fn a_failing_pod_is_left_alone_and_comes_back() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "breaker").await;
    namespace.inject().await;
    let back = Moody::start(&namespace, "back", 3).await;
    let load = Load::start(&namespace, "load", "http://back/").await;
    load.pass(60).await;

    let pods = back.pods().await;
    let sick = &pods[0];
    back.set(sick, "failing").await;
    let seen = back
        .until(sick, "bad answers", |seen| seen.bad.len() >= 5)
        .await;
    // Well again at once: the probes that come later find it so.
    load.pass(240).await;
    back.set(sick, "well").await;
    let after = back.seen(sick).await;
    // A third of 240 requests, had it gone on.
    assert!(after.bad.len() < 20, "dialled on and on: {after:?}");
    if let Some(tenth) = after.bad.get(9) {
        let late = after.bad.iter().any(|when| *when > tenth + TRIPS_WITHIN);
        assert!(!late, "still dialled after {TRIPS_WITHIN} s: {after:?}");
    }

    back.until(sick, "the pod gets requests again", |now| {
        now.ok > seen.ok + 20
    })
    .await;
}

#[tokio::test]
async fn when_all_fail_the_fallback_answers_and_then_the_service_again() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "fallback").await;
    namespace.inject().await;
    namespace.apply(POLICY).await;
    let back = Moody::start(&namespace, "back", 2).await;
    let load = Load::start(&namespace, "load", "http://back/").await;
    for pod in back.pods().await {
        back.set(&pod, "failing").await;
    }
    let answer = async |part: &str| {
        wait::until(part, wait::LONG, async || {
            let ran = namespace.exec("load", "load", &GET).await;
            let found = ran.stdout.contains(part);
            found.then_some(()).ok_or_else(|| format!("{ran:?}"))
        })
        .await;
    };
    answer("outrigger-fallback: static").await;
    answer("from the fallback").await;
    for pod in back.pods().await {
        back.set(&pod, "well").await;
    }
    answer("is well").await;
    load.pass(60).await;
}

const GET: [&str; 3] = [
    "python3",
    "-c",
    "import urllib.request as u
r = u.urlopen('http://back/', timeout=5)
print(r.headers, r.read().decode())",
];

#[tokio::test]
async fn a_slow_dependency_does_not_slow_the_others() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "bulkhead").await;
    namespace.inject().await;
    namespace
        .apply(
            "
apiVersion: outrigger.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: slow}
spec:
  targetRefs: [{group: '', kind: Service, name: slow}]
  breaker: {enabled: false}
  bulkhead: {maxInFlight: 4, queue: 2, queueWait: 50ms}
",
        )
        .await;
    Moody::start(&namespace, "quick", 1).await;
    let slow = Moody::start(&namespace, "slow", 1).await;
    let load = Load::start(&namespace, "load", "http://quick/").await;
    // From the same pod, so through the same proxy.
    let flood = load.also("http://slow/").await;

    // By turns, so that what else the machine does is on both sides.
    let (mut well, mut slowed) = (Vec::new(), Vec::new());
    for _ in 0..WINDOWS {
        for (mood, seen) in [("well", &mut well), ("slow", &mut slowed)] {
            for pod in slow.pods().await {
                slow.set(&pod, mood).await;
            }
            let from = flood.counts().await;
            match mood {
                "slow" => {
                    flood
                        .until("refusals", |now| now.failures > from.failures + 20)
                        .await
                }
                _ => flood.until("answers", |now| now.ok > from.ok + 40).await,
            };
            seen.push(load.p99(300).await);
        }
    }
    let (before, during) = (median(&mut well), median(&mut slowed));
    assert!(
        during <= before * 1.2 + NOISE_MS,
        "p99 was {before} ms of {well:?}, and is {during} ms of {slowed:?} with a slow neighbour"
    );
    let counts = flood.counts().await;
    let refused = |it: &String| it.contains("bulkhead");
    assert!(counts.failed.iter().all(refused), "{:#?}", counts.failed);
    assert_eq!(load.counts().await.failures, 0);
}

const WINDOWS: usize = 5;

/// What p99 of a few milliseconds varies by on a machine that does other things too.
const NOISE_MS: f64 = 3.0;

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
