//! `outrigger diagnose POD`: what a pod has, and why it is failing.
//!
//! [`gather`] finds the facts, [`causes`] concludes from them, [`view`] shows both.

mod causes;
mod events;
mod facts;
mod gather;
mod refusals;
mod view;

use super::cluster::{self, ClusterArgs, Progress, Target};

/// Say what a pod has and why it is failing, the likely cause last.
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
    /// When the pod cannot be found.
    pub fn run(self) -> anyhow::Result<()> {
        cluster::block_on(async {
            let cluster = self.cluster.connect().await?;
            let progress = Progress::new();
            progress.step("looking at the pod");
            let pods = self
                .target
                .pods(&cluster.client, &cluster.namespace)
                .await?;
            let pod = pods.into_iter().min_by_key(gather::health);
            let Some(pod) = pod else {
                anyhow::bail!("there is no such pod");
            };
            let facts = gather::gather(&cluster, &pod, &progress).await;
            drop(progress);
            self.cluster.output.print(&view::Diagnosis::new(&facts))
        })
    }
}
