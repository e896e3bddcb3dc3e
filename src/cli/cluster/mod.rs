//! What the commands for a cluster have in common: which cluster, how its objects and its
//! proxies are asked, and how the answer is shown.

mod ask;
mod beliefs;
mod certificate;
mod error;
mod install;
mod output;
mod pods;
mod policies;
mod progress;
mod refusal;
mod scrape;
mod target;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use ask::{AskError, Proxy, ask_all};
pub use beliefs::{Answer, beliefs, understand};
pub use certificate::{Validity, validities};
pub use error::{Fact, explain, list};
pub use install::{CONTROLLER, Install, install, installs};
pub use output::{Output, Report, Table, age};
pub use pods::{INJECTED, PROXY, Scope, containers, injected_pods, is_injected, owner_of};
#[cfg(test)]
pub use policies::Condition;
pub use policies::{Policy, policies};
pub use progress::Progress;
pub use refusal::{Refuser, advice_on_refusal};
pub use scrape::{Page, Sample};
pub use target::{Found, Target};

/// Where the chart installs Outrigger unless told otherwise.
pub const USUAL_INSTALL_NAMESPACE: &str = "outrigger-system";

/// The API server must begin an answer within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster a command is about: the options have kubectl's names and meanings.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// The kubeconfig; by default $KUBECONFIG, then ~/.kube/config, then the pod's own account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context to use.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace to look at; by default the context's.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// `--namespace`, or the context's.
    pub namespace: String,
}

impl ClusterArgs {
    /// Reads the kubeconfig and makes a client of it. Nothing is sent yet.
    ///
    /// # Errors
    /// When there is no usable configuration.
    pub async fn connect(&self) -> anyhow::Result<Cluster> {
        let mut config = self.config().await?;
        config.read_timeout = Some(READ_TIMEOUT);
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.clone();
        let client = Client::try_from(config).with_context(|| {
            format!("no client can be made for {url}: look at the credentials in the kubeconfig")
        })?;
        Ok(Cluster { client, namespace })
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: None,
            output: Output::Text,
        }
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        if let Some(path) = &self.kubeconfig {
            let read = Kubeconfig::read_from(path);
            let file = read.with_context(|| format!("--kubeconfig {}", path.display()))?;
            return Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("--kubeconfig {}", path.display()));
        }
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            // A context was named, or there is a file: the mistake is in there.
            Err(error) if self.context.is_some() => {
                Err(error).context("the kubeconfig has no such context, or it is not complete")
            }
            Err(error) => Config::incluster().map_err(|_| {
                anyhow::Error::from(error).context(
                    "no cluster to ask: name a kubeconfig with --kubeconfig or in $KUBECONFIG",
                )
            }),
        }
    }
}

/// Runs a command that waits for the network, on this thread.
///
/// # Errors
/// The command's, or that there can be no runtime.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(command)
}
