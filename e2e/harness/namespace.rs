//! A test's own namespace: what it applies there, runs there and reads there.

use std::{env, thread};

use k8s_openapi::api::core::v1::{Namespace as Resource, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{AttachParams, ListParams, LogParams, ObjectMeta, PostParams},
};
use tokio::io::AsyncReadExt as _;

use super::{
    Cluster,
    programs::{self, kubectl_now},
    wait,
};

/// Exists until it is dropped. After a failure its pods, events and logs are printed first; with
/// `E2E_KEEP` set in the environment it then stays.
pub struct Namespace {
    pub name: String,
    cluster: Cluster,
}

/// What a command in a pod printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

impl Namespace {
    /// Makes a namespace whose name begins with `prefix`.
    pub async fn create(cluster: &Cluster, prefix: &str) -> Self {
        let name = format!("{prefix}-{:06x}", fastrand::u32(..1 << 24));
        let resource = Resource {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Resource::default()
        };
        Api::all(cluster.client.clone())
            .create(&PostParams::default(), &resource)
            .await
            .expect("a new name");
        Self {
            name,
            cluster: cluster.clone(),
        }
    }

    /// `kubectl apply` of manifests that name no namespace.
    pub async fn apply(&self, yaml: &str) {
        programs::apply(&self.name, yaml).await;
    }

    /// Waits until the rollout of `workload`, as in `deployment/web`, is complete.
    pub async fn rolled_out(&self, workload: &str) {
        let timeout = format!("--timeout={}s", wait::LONG.as_secs());
        programs::kubectl(&["rollout", "status", workload, "-n", &self.name, &timeout]).await;
    }

    /// This namespace's resources of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// The pods with these labels that are not on their way out, by name.
    pub async fn pods(&self, labels: &str) -> Vec<Pod> {
        let mut pods = self
            .api::<Pod>()
            .list(&ListParams::default().labels(labels))
            .await
            .expect("pods can be listed")
            .items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(|pod| pod.name_any());
        pods
    }

    /// The name of the only such pod, once there is exactly one.
    pub async fn pod(&self, labels: &str) -> String {
        let what = format!("one pod with {labels} in {}", self.name);
        wait::until(&what, wait::LONG, async || {
            let pods = self.pods(labels).await;
            match &pods[..] {
                [pod] => Ok(pod.name_any()),
                _ => Err(format!("{} pods", pods.len())),
            }
        })
        .await
    }

    /// Has the pods that are created from now on injected.
    pub async fn inject(&self) {
        let inject = "outrigger.dev/inject=enabled";
        programs::kubectl(&["annotate", "namespace", &self.name, inject]).await;
    }

    /// Runs a command in a pod's container.
    ///
    /// # Panics
    /// When it cannot be run at all.
    pub async fn exec(&self, pod: &str, container: &str, command: &[&str]) -> Ran {
        let ran = self.try_exec(pod, container, command).await;
        ran.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a command in a pod's container, or says why it cannot be run.
    pub async fn try_exec(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
    ) -> Result<Ran, String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("{command:?} in {pod}/{container}: {error}");
        let attach = AttachParams::default()
            .container(container)
            .stdin(false)
            .stdout(true)
            .stderr(true);
        let mut process = self
            .api::<Pod>()
            .exec(pod, command.iter().copied(), &attach)
            .await
            .map_err(|error| failed(&error))?;
        let status = process.take_status().expect("not taken before");
        let (mut out, mut err) = (
            process.stdout().expect("asked for"),
            process.stderr().expect("asked for"),
        );
        let (mut stdout, mut stderr) = (String::new(), String::new());
        tokio::try_join!(
            out.read_to_string(&mut stdout),
            err.read_to_string(&mut stderr)
        )
        .map_err(|error| failed(&error))?;
        let success = status
            .await
            .is_some_and(|status| status.status.as_deref() == Some("Success"));
        Ok(Ran {
            stdout,
            stderr,
            success,
        })
    }

    /// What a container has written so far.
    pub async fn logs(&self, pod: &str, container: &str) -> String {
        let parameters = LogParams {
            container: Some(container.to_owned()),
            ..LogParams::default()
        };
        self.api::<Pod>()
            .logs(pod, &parameters)
            .await
            .unwrap_or_else(|error| panic!("the log of {pod}/{container}: {error}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            let show = |arguments: &[&str]| kubectl_now(&[arguments, &["-n", &self.name]].concat());
            show(&["get", "pods", "--output", "wide"]);
            show(&["get", "events", "--sort-by", ".lastTimestamp"]);
            let every_pod = ["--selector", "!nothing", "--max-log-requests", "100"];
            let lines = ["logs", "--all-containers", "--prefix", "--tail", "20"];
            show(&[&lines[..], &every_pod].concat());
            if env::var_os("E2E_KEEP").is_some() {
                eprintln!("kept: the namespace {}", self.name);
                return;
            }
        }
        kubectl_now(&["delete", "namespace", &self.name, "--timeout", "60s"]);
    }
}
