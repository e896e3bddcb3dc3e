//! `outrigger controller`: the control plane, on Kubernetes or from a registry file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{stdout, values};
use crate::{
    controller::{
        self, Controller, Options,
        kubernetes::{self, Listen, config::MeshConfig},
    },
    identity::ca::LIFETIMES,
    telemetry::logging::{self, LogFormat, LogLevel},
    units::duration,
};

/// Run the control plane: on Kubernetes, or from a registry file where there is none.
#[derive(clap::Args)]
pub(super) struct ControllerArgs {
    /// The registry where there is no Kubernetes: a YAML file that is followed while the
    /// controller runs.
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// The certificate authority's directory, made on the first run; with --registry.
    #[arg(long, value_name = "DIR", requires = "registry")]
    ca_dir: Option<PathBuf>,
    /// How long certificates are valid, from 1m to 8760h, with --registry; renewed at 50 to 80 %
    /// of that [default: 24h].
    #[arg(long, value_name = "DURATION", requires = "registry", value_parser = lifetime)]
    certificate_lifetime: Option<Duration>,
    /// Check the registry and exit.
    #[arg(long, requires = "registry")]
    check: bool,
    /// Where proxies connect [default: 127.0.0.1:14030 with --registry, else port 14030
    /// everywhere].
    #[arg(long, value_name = "ADDR", value_parser = values::socket_addr)]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    /// off, error, warn, info, debug or trace, or targets like info,outrigger::controller=debug.
    #[arg(
        long,
        env = "OUTRIGGER_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
}

/// What only the controller on Kubernetes has.
#[derive(clap::Args)]
struct KubernetesArgs {
    /// The mesh's configuration; all its defaults where it is left out.
    #[arg(long, value_name = "FILE", conflicts_with = "registry")]
    config: Option<PathBuf>,
    /// Where health and metrics are shown [default: port 14020 everywhere].
    #[arg(long, value_name = "ADDR", conflicts_with = "registry", value_parser = values::socket_addr)]
    admin: Option<SocketAddr>,
    /// Where the API server asks for injection [default: port 14040 everywhere].
    #[arg(long, value_name = "ADDR", conflicts_with = "registry", value_parser = values::socket_addr)]
    webhook_listen: Option<SocketAddr>,
    /// The namespace that the controller is installed in.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// This replica's name, another for each.
    #[arg(long, env = "POD_NAME")]
    pod: Option<String>,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration::parse(text)?;
    match LIFETIMES.contains(&lifetime) {
        true => Ok(lifetime),
        false => Err("write a time from 1m to 8760h, like 24h".to_owned()),
    }
}

impl ControllerArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Some(registry) = self.registry else {
            let log_level = logging::init(&self.log, LogFormat::Text)?;
            let options = self.kubernetes.options(self.listen, log_level)?;
            return block_on(on_kubernetes(options));
        };
        if self.check {
            let (_, read) = controller::read(&registry)?;
            let (file, resources) = (registry.display(), read.resources.len());
            return stdout::finish(&format!("{file}: good, {resources} resources\n"));
        }
        let ca_dir = self.ca_dir.context(
            "--registry needs --ca-dir DIR as well: where the authority's keys are kept",
        )?;
        logging::init(&self.log, LogFormat::Text)?;
        let listen = self.listen.unwrap_or(([127, 0, 0, 1], 14030).into());
        let mut options = Options::new(registry, listen, ca_dir);
        options.lifetime = self.certificate_lifetime.unwrap_or(options.lifetime);
        block_on(from_file(options))
    }
}

impl KubernetesArgs {
    fn options(
        self,
        listen: Option<SocketAddr>,
        log_level: LogLevel,
    ) -> anyhow::Result<kubernetes::Options> {
        let config = match self.config {
            Some(path) => MeshConfig::read(&path)?,
            None => MeshConfig::default(),
        };
        let at = |addr: Option<SocketAddr>, port| addr.map_or(Listen::Everywhere(port), Listen::At);
        Ok(kubernetes::Options {
            config,
            namespace: self.namespace.context(
                "which namespace is the controller installed in? Set POD_NAMESPACE, or give \
                 --namespace; or give --registry FILE where there is no Kubernetes",
            )?,
            pod: self
                .pod
                .context("what is this replica called? Set POD_NAME, or give --pod")?,
            listen: at(listen, 14030),
            webhook_listen: at(self.webhook_listen, 14040),
            admin: at(self.admin, 14020),
            log_level,
        })
    }
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?
        .block_on(future)
}

async fn on_kubernetes(options: kubernetes::Options) -> anyhow::Result<()> {
    kubernetes::run(options, asked_to_end()?).await?;
    tracing::info!("the controller ends");
    Ok(())
}

async fn from_file(options: Options) -> anyhow::Result<()> {
    let asked_to_end = asked_to_end()?;
    let controller = Controller::bind(options).await?;
    tracing::info!(addr = %controller.local_addr()?, "the controller is ready");
    controller.run(asked_to_end).await;
    tracing::info!("the controller ends");
    Ok(())
}

fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
