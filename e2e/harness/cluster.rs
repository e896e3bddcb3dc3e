//! The cluster that the tests run on: `e2e/cluster` knows which.

use std::{path::PathBuf, process::Command};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// A connection to the cluster.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
}

impl Cluster {
    /// # Panics
    /// When there is no cluster.
    pub async fn connect() -> Self {
        let path = kubeconfig();
        let file = Kubeconfig::read_from(&path).unwrap_or_else(|error| {
            panic!("{error}. Start a cluster with: e2e/cluster up");
        });
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .expect("e2e/cluster writes a complete kubeconfig");
        let client = Client::try_from(config).expect("the kubeconfig's keys are readable");
        if let Err(error) = client.apiserver_version().await {
            panic!(
                "the cluster of {} does not answer: {error}. See: e2e/cluster status",
                path.display()
            );
        }
        Self { client }
    }
}

/// Where the kubeconfig is.
pub fn kubeconfig() -> PathBuf {
    asked("kubeconfig").trim().into()
}

/// The network namespaces of the nodes; none where the nodes are other machines.
pub fn networks() -> Vec<PathBuf> {
    asked("networks").lines().map(PathBuf::from).collect()
}

/// Where kubectl and helm are, when they are not on the PATH.
pub fn programs() -> PathBuf {
    asked("programs").trim().into()
}

/// What `e2e/cluster` prints.
fn asked(command: &str) -> String {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/cluster"))
        .arg(command)
        .output()
        .expect("e2e/cluster is in the checkout");
    assert!(output.status.success(), "e2e/cluster {command}: {output:?}");
    String::from_utf8(output.stdout).expect("paths that the script made are UTF-8")
}
