//! The metrics of every proxy of a scope, at one moment each.

use std::time::Instant;

use kube::ResourceExt;

use super::{Cluster, Progress, Scope};
use crate::cli::cluster::{Page, ask_all, explain, injected_pods, owner_of};

/// One proxy's metrics.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// `namespace/name`.
    pub pod: String,
    /// `namespace/kind/name`.
    pub workload: String,
    pub at: Instant,
    pub page: Page,
}

#[derive(Default)]
pub struct Scrape {
    pub pages: Vec<Scraped>,
    /// Pods that could not be asked, with the reason.
    pub silent: Vec<String>,
}

/// # Errors
/// When the pods cannot be listed.
pub async fn scrape(
    cluster: &Cluster,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<Scrape> {
    let pods = injected_pods(&cluster.client, scope).await;
    let pods = pods.map_err(|error| anyhow::anyhow!("{}", explain(&error)))?;
    let mut scrape = Scrape::default();
    for answer in ask_all(&cluster.client, pods, ["/metrics"], progress).await {
        let namespace = answer.pod.namespace().unwrap_or_default();
        let pod = format!("{namespace}/{}", answer.pod.name_any());
        match answer.pages {
            Ok([page]) => scrape.pages.push(Scraped {
                pod,
                workload: format!("{namespace}/{}", owner_of(&answer.pod)),
                at: answer.at,
                page: Page::parse(&page),
            }),
            Err(error) => scrape.silent.push(format!("{pod}: {error}")),
        }
    }
    Ok(scrape)
}
