//! `outrigger get`: what the proxies believe, by asking each of them.

mod breakers;
mod policies;
mod proxies;
mod services;

use std::time::SystemTime;

use serde::Serialize;

use super::cluster::{self, Answer, ClusterArgs, Progress, Report, Scope};

/// Show what the proxies believe, by asking each of them.
///
/// It takes the rights to list pods, and to get and to create pods/portforward; `get policies`
/// those to list policies and routes.
#[derive(clap::Args)]
pub struct GetArgs {
    #[arg(value_enum)]
    what: What,
    /// In every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Versions, certificates, and standing with the controller.
    #[value(alias = "proxy")]
    Proxies,
    /// The services in use: protocol, routes, endpoints.
    #[value(alias = "service", alias = "svc")]
    Services,
    /// Breakers and bulkheads, by service and endpoint.
    #[value(alias = "breaker")]
    Breakers,
    /// Policies and routes, and what became of them.
    #[value(alias = "policy")]
    Policies,
}

impl GetArgs {
    /// # Errors
    /// When the cluster cannot be asked.
    pub fn run(self) -> anyhow::Result<()> {
        cluster::block_on(self.get())
    }

    async fn get(self) -> anyhow::Result<()> {
        let cluster = self.cluster.connect().await?;
        let scope = match self.all_namespaces {
            true => Scope::All,
            false => Scope::Namespace(cluster.namespace.clone()),
        };
        let progress = Progress::new();
        let output = self.cluster.output;
        let client = &cluster.client;
        if let What::Policies = self.what {
            progress.step("asking the API server");
            let found = cluster::policies(client, &scope).await;
            drop(progress);
            let found = found.map_err(anyhow::Error::msg)?;
            return output.print(&policies::Policies::new(found, &scope));
        }
        let answers = cluster::beliefs(client, &scope, &progress).await;
        drop(progress);
        let answers = answers.map_err(anyhow::Error::msg)?;
        match self.what {
            What::Proxies => {
                output.print(&proxies::Proxies::new(&answers, &scope, SystemTime::now()))
            }
            What::Services => output.print(&services::Services::new(&answers, &scope)),
            What::Breakers | What::Policies => {
                output.print(&breakers::Breakers::new(&answers, &scope))
            }
        }
    }
}

/// A proxy that said nothing, and why.
#[derive(Serialize)]
struct Silent {
    pod: String,
    reason: String,
}

fn silent(answers: &[Answer]) -> Vec<Silent> {
    let silent = answers.iter().filter_map(|answer| {
        let reason = answer.belief.as_ref().err()?;
        Some(Silent {
            pod: answer.pod.clone(),
            reason: reason.clone(),
        })
    });
    silent.collect()
}

/// The end of a view: who could not be asked, and that nothing is there where nothing is.
fn ending(silent: &[Silent], answered: usize, scope: &Scope) -> String {
    if silent.is_empty() && answered == 0 {
        return format!("No pod in {scope} has a proxy. `outrigger check` says what is amiss.\n");
    }
    let lines = silent
        .iter()
        .map(|one| format!("{}: not asked: {}\n", one.pod, one.reason));
    lines.collect()
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::proxy::belief::Belief;

    pub fn answer(pod: &str, belief: Belief) -> Answer {
        Answer {
            pod: pod.into(),
            workload: "deploy/cart".into(),
            belief: Ok(belief),
        }
    }

    pub fn silent(pod: &str) -> Answer {
        Answer {
            pod: pod.into(),
            workload: "deploy/cart".into(),
            belief: Err("no answer within 10 s".into()),
        }
    }

    pub fn shop() -> Scope {
        Scope::Namespace("shop".into())
    }
}
