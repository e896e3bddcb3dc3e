//! Requests without end from a pod of the mesh, and what became of them: HTTP or gRPC.

use serde::Deserialize;

use super::{Namespace, wait};

/// Requests a second: enough to notice a gap of some tens of milliseconds, little enough to leave
/// the machine to what is tested.
const RATE: u32 = 60;

const COUNTS: &str = "/tmp/counts";

const PYTHON: &str = "docker.io/library/python:3.13-slim";
pub const NODE: &str = "docker.io/library/node:22-slim";
/// A server and clients in one.
pub const GRPC: &str = include_str!("grpc.js");

/// A pod that sends requests until its namespace goes.
pub struct Load<'a> {
    namespace: &'a Namespace,
    pod: String,
    /// Where in the pod the counts are.
    counts: &'static str,
}

/// What became of the requests so far.
#[derive(Debug, Deserialize)]
pub struct Counts {
    pub ok: u64,
    pub failures: u64,
    /// The first of them, with the time.
    pub failed: Vec<String>,
    /// Of the latest requests that succeeded, the newest last.
    latest_ms: Vec<f64>,
}

impl<'a> Load<'a> {
    /// Ten clients that GET, half with kept connections. Returns when requests succeed.
    pub async fn start(namespace: &'a Namespace, name: &str, url: &str) -> Self {
        Self::http(namespace, name, url, &["GET"]).await
    }

    /// As [`Load::start`], with these methods in turn.
    pub async fn http(namespace: &'a Namespace, name: &str, url: &str, methods: &[&str]) -> Self {
        let program = ["python3", "/opt/load", url, "10", &RATE.to_string(), COUNTS];
        let script = include_str!("load.py");
        Self::run(
            namespace,
            name,
            PYTHON,
            script,
            &[&program[..], methods].concat(),
        )
        .await
    }

    /// Ten gRPC clients, half with kept connections. Returns when calls succeed.
    pub async fn grpc(namespace: &'a Namespace, name: &str, url: &str) -> Self {
        let program = [
            "node",
            "/opt/load",
            "load",
            url,
            "10",
            &RATE.to_string(),
            COUNTS,
        ];
        Self::run(namespace, name, NODE, GRPC, &program).await
    }

    async fn run(
        namespace: &'a Namespace,
        name: &str,
        image: &str,
        script: &str,
        command: &[&str],
    ) -> Self {
        let script = script
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>();
        namespace
            .apply(&format!(
                "
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}-code}}
data:
  load: |
{script}
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: load
    image: {image}
    command: {command:?}
    volumeMounts: [{{name: code, mountPath: /opt}}]
  volumes: [{{name: code, configMap: {{name: {name}-code}}}}]
"
            ))
            .await;
        let load = Self {
            namespace,
            pod: name.to_owned(),
            counts: COUNTS,
        };
        load.pass(1).await;
        load
    }

    /// What became of the requests so far.
    pub async fn counts(&self) -> Counts {
        self.look().await.unwrap_or_else(|seen| panic!("{seen}"))
    }

    async fn look(&self) -> Result<Counts, String> {
        let ran = self
            .namespace
            .try_exec(&self.pod, "load", &["cat", self.counts])
            .await?;
        serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran:?}"))
    }

    /// Waits until `requests` more have succeeded: what was changed before has been felt.
    pub async fn pass(&self, requests: u64) -> Counts {
        let mut from = None;
        wait::until("requests succeed", wait::LONG, async || {
            let counts = self.look().await?;
            let from = *from.get_or_insert(counts.ok);
            if counts.ok >= from + requests {
                Ok(counts)
            } else {
                Err(format!("{counts:?}"))
            }
        })
        .await
    }

    /// Sends to `url` too, from the same pod.
    pub async fn also(&self, url: &str) -> Self {
        const COUNTS: &str = "/tmp/counts-too";
        let command = format!("python3 /opt/load {url} 20 {RATE} {COUNTS} GET >/dev/null 2>&1 &");
        let shell = ["sh", "-c", &command];
        let ran = self.namespace.exec(&self.pod, "load", &shell).await;
        assert!(ran.success, "{ran:?}");
        Self {
            namespace: self.namespace,
            pod: self.pod.clone(),
            counts: COUNTS,
        }
    }

    /// Waits for the counts to be as `enough` asks.
    pub async fn until(&self, what: &str, enough: impl Fn(&Counts) -> bool) -> Counts {
        wait::until(what, wait::LONG, async || {
            let counts = self.look().await?;
            if enough(&counts) {
                Ok(counts)
            } else {
                Err(format!("{counts:?}"))
            }
        })
        .await
    }

    /// The 99th percentile of the next `requests`, in milliseconds. At most 2,000.
    pub async fn p99(&self, requests: usize) -> f64 {
        let mut latest = self.pass(requests as u64).await.latest_ms;
        let mut latest = latest.split_off(latest.len().saturating_sub(requests));
        latest.sort_by(f64::total_cmp);
        latest[latest.len() * 99 / 100]
    }

    /// # Panics
    /// When a request failed since the start.
    pub async fn assert_none_failed(&self, during: &str) {
        let counts = self.pass(u64::from(RATE) * 2).await;
        assert!(
            counts.failures == 0,
            "{} of {} requests failed during {during}: {:#?}",
            counts.failures,
            counts.ok + counts.failures,
            counts.failed
        );
    }
}
