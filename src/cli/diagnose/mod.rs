//! `outrigger diagnose POD`: what a pod has, and why it is failing.
//!
//! [`gather`] finds the facts, [`causes`] concludes from them, [`view`] shows both.

mod absent;
mod answers;
mod calls;
mod causes;
mod denials;
mod events;
mod facts;
mod gather;
mod refusals;
mod view;

use super::cluster::{self, ClusterArgs, Found, Progress, Target};

/// Say what a pod has and why it is failing, the likely causes last.
///
/// Asking its proxy takes the rights to get and to create pods/portforward, reading a workload the
/// right to get it; docs/cli.md has a Role. What you may not read is said in its place.
#[derive(clap::Args)]
pub struct DiagnoseArgs {
    /// A pod's name, or deploy/NAME, sts/NAME, ds/NAME, job/NAME for the pod of it that is worst
    /// off.
    target: Target,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl DiagnoseArgs {
    /// # Errors
    /// When the pod or the workload cannot be found.
    pub fn run(self) -> anyhow::Result<()> {
        cluster::block_on(async {
            let cluster = self.cluster.connect().await?;
            let progress = Progress::new();
            progress.step("looking at the pod");
            let namespace = &cluster.namespace;
            let found = self.target.find(&cluster.client, namespace).await?;
            let Found {
                name,
                pods,
                wanted,
                refused,
            } = found;
            let output = self.cluster.output;
            let Some(pod) = pods.into_iter().min_by_key(gather::health) else {
                let events = events::refused_pods(&cluster.client, namespace, &name).await;
                drop(progress);
                let name = format!("{namespace}/{name}");
                return output.print(&absent::Absent::new(name, wanted, refused, events));
            };
            let facts = gather::gather(&cluster, &pod, refused, &progress).await;
            drop(progress);
            output.print(&view::Diagnosis::new(&facts))
        })
    }
}
