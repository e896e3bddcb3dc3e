//! `outrigger controller`: the control plane where there is no Kubernetes.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use crate::controller::{self, Controller, Options};

/// Run the control plane from a registry file.
#[derive(clap::Args)]
pub(super) struct ControllerArgs {
    /// The registry: a YAML file that is followed while the controller runs.
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// Where proxies connect.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:14030")]
    listen: SocketAddr,
    /// The certificate authority's directory, made on the first run.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    ca_dir: Option<PathBuf>,
    /// Check the registry and exit.
    #[arg(long)]
    check: bool,
}

impl ControllerArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Some(ca_dir) = self.ca_dir.filter(|_| !self.check) else {
            let (_, registry) = controller::read(&self.registry)?;
            println!(
                "{}: good, {} resources",
                self.registry.display(),
                registry.resources.len()
            );
            return Ok(());
        };
        log::start();
        let options = Options::new(self.registry, self.listen, ca_dir);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot start")?
            .block_on(serve(options))
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let controller = Controller::bind(options).await?;
    tracing::info!(addr = %controller.local_addr()?, "the controller is ready");
    controller
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    tracing::info!("the controller ends");
    Ok(())
}
