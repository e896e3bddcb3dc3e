//! `outrigger top`: live rates, success and latency by workload.

mod live;
mod rates;
mod scrape;
mod view;

use std::{io::IsTerminal, time::Duration};

use serde::Serialize;

use super::cluster::{self, Cluster, ClusterArgs, Output, Progress, Report, Scope};
use crate::{telemetry::Direction, units};
use rates::Row;

/// Show requests per second, success and latency of each workload, live.
///
/// It takes the rights to list pods, and to get and to create pods/portforward.
#[derive(clap::Args)]
pub struct TopArgs {
    /// In every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// What the workloads call, instead of what calls them.
    #[arg(long)]
    outbound: bool,
    /// Print one table and end; so it is anyway without a terminal, and with -o json.
    #[arg(long)]
    once: bool,
    /// Between two looks at the proxies' metrics: 1s to 5m.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    cluster: ClusterArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration::parse(text)?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(300);
    match allowed.contains(&interval) {
        true => Ok(interval),
        false => Err("write a duration from 1s to 5m".to_owned()),
    }
}

/// What happened between two looks.
#[derive(Serialize)]
struct Top {
    direction: &'static str,
    seconds: f64,
    workloads: Vec<Row>,
    silent: Vec<String>,
}

impl Report for Top {
    fn text(&self) -> String {
        view::table(self)
    }
}

impl TopArgs {
    /// # Errors
    /// When the cluster cannot be asked, or the terminal fails.
    pub fn run(self) -> anyhow::Result<()> {
        cluster::block_on(self.top())
    }

    async fn top(self) -> anyhow::Result<()> {
        let cluster = self.cluster.connect().await?;
        let scope = match self.all_namespaces {
            true => Scope::All,
            false => Scope::Namespace(cluster.namespace.clone()),
        };
        let direction = match self.outbound {
            true => Direction::Outbound,
            false => Direction::Inbound,
        };
        let live = !self.once && self.cluster.output == Output::Text;
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        if live && terminal {
            return live::watch(&cluster, &scope, direction, self.interval).await;
        }
        let top = once(&cluster, &scope, direction, self.interval).await?;
        self.cluster.output.print(&top)
    }
}

async fn once(
    cluster: &Cluster,
    scope: &Scope,
    direction: Direction,
    interval: Duration,
) -> anyhow::Result<Top> {
    let progress = Progress::new();
    let before = scrape::scrape(cluster, scope, &progress).await?;
    progress.step("counting requests");
    tokio::time::sleep(interval).await;
    let after = scrape::scrape(cluster, scope, &progress).await?;
    Ok(Top {
        direction: direction.as_str(),
        seconds: interval.as_secs_f64(),
        workloads: rates::between(&before.pages, &after.pages, direction),
        silent: after.silent,
    })
}
