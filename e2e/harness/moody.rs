//! Applications whose mood a test sets: well, failing, slow.

use serde::Deserialize;

use super::{Namespace, wait};

/// The replicas of one service.
pub struct Moody<'a> {
    namespace: &'a Namespace,
    name: &'a str,
}

/// What one replica answered so far.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    pub ok: u64,
    /// When it answered 500: seconds by its own clock.
    pub bad: Vec<f64>,
    /// When the first request came.
    pub first: Option<f64>,
}

impl<'a> Moody<'a> {
    /// Starts `replicas` of the service `name`, on port 80.
    pub async fn start(namespace: &'a Namespace, name: &'a str, replicas: u32) -> Self {
        let script = include_str!("moody.py")
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>();
        namespace
            .apply(&format!(
                "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}-code}}
data:
  moody.py: |
{script}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: docker.io/library/python:3.13-slim
        command: [python3, /opt/moody.py]
        readinessProbe: {{httpGet: {{port: 8080, path: /healthz}}, periodSeconds: 1}}
        volumeMounts: [{{name: code, mountPath: /opt}}]
      volumes: [{{name: code, configMap: {{name: {name}-code}}}}]
"
            ))
            .await;
        namespace.rolled_out(&format!("deployment/{name}")).await;
        Self { namespace, name }
    }

    /// The replicas' pods.
    pub async fn pods(&self) -> Vec<String> {
        let pods = self.namespace.pods(&format!("app={}", self.name)).await;
        pods.into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect()
    }

    pub async fn set(&self, pod: &str, mood: &str) {
        let command = format!("echo {mood} >/tmp/mode");
        let ran = self
            .namespace
            .exec(pod, "app", &["sh", "-c", &command])
            .await;
        assert!(ran.success, "{ran:?}");
    }

    pub async fn seen(&self, pod: &str) -> Seen {
        let ran = self.namespace.exec(pod, "app", &["cat", "/tmp/seen"]).await;
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Waits for a replica to have answered as `enough` asks.
    pub async fn until(&self, pod: &str, what: &str, enough: impl Fn(&Seen) -> bool) -> Seen {
        wait::until(what, wait::LONG, async || {
            let seen = self.seen(pod).await;
            if enough(&seen) {
                Ok(seen)
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await
    }
}
