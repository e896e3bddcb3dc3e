//! `outrigger demo`: a small mesh on this machine, made of namespaces, to watch the patterns at
//! work in.

mod acts;
mod collector;
mod flood;
mod http;
mod live;
mod mesh;
mod metrics;
mod otlp;
mod plan;
mod registry;
mod report;

use std::{
    env, fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
};

use ::http::Uri;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use super::stdout;
use crate::netns::{Entry, enter};
use acts::Stage;
use collector::Collector;
use mesh::Mesh;

/// Show mTLS, breaker, fallback, recovery, bulkhead and a trace at work on this machine.
///
/// The pods are network namespaces that it makes itself; it needs no root where the kernel allows
/// unprivileged user namespaces.
#[derive(Args)]
pub struct DemoArgs {
    /// Play the scripted scenario and exit; fails if anything did not happen.
    #[arg(long)]
    once: bool,
    /// How --once reports.
    #[arg(short, long, value_enum, default_value_t = Output::Text, requires = "once")]
    output: Output,
    /// Also send the spans to this collector, over HTTP: http://127.0.0.1:4318.
    #[arg(long, value_name = "URL", value_parser = collector_url)]
    otlp: Option<Uri>,
    /// Throw the live view's switches by this script: lines like `5s stock-fails on`.
    #[arg(long, value_name = "FILE", conflicts_with = "once")]
    script: Option<PathBuf>,
    /// Run this command line in every pod in place of the sample app. It is told SERVICE, POD,
    /// PORT (to listen on) and CALLS (a URL, or nothing).
    #[arg(long, value_name = "COMMAND", conflicts_with = "once")]
    app: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn collector_url(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    url.filter(|url| url.scheme_str() == Some("http") && url.host().is_some())
        .ok_or_else(|| format!("{text:?} is not a collector's address: write http://HOST:4318"))
}

impl DemoArgs {
    /// # Errors
    /// When the kernel allows no namespaces, something does not start, or an act fails.
    pub fn run(self) -> anyhow::Result<()> {
        let again = || {
            let mut command = Command::new("/proc/self/exe");
            command.args(env::args_os().skip(1));
            command
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // An interrupt by the terminal reaches the process inside too. This one outlives it, or
        // the kernel would kill that one before it has cleaned up.
        let interrupts = {
            let _in = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        if let Entry::Outside(status) = enter(again)? {
            // The process inside has said what there is to say.
            std::process::exit(status.code().unwrap_or(1));
        }
        runtime.block_on(self.play(interrupts))
    }

    async fn play(&self, mut interrupts: Signal) -> anyhow::Result<()> {
        let script = match self.once {
            true => None,
            false => Some(live::prepare(self.script.as_deref())?),
        };
        let directory = env::temp_dir().join(format!("outrigger-demo-{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let played = tokio::select! {
            played = self.play_in(&directory, script) => Some(played),
            _ = interrupts.recv() => None,
        };
        match &played {
            Some(Err(_)) => eprintln!("the logs are in {}", directory.display()),
            Some(Ok(())) | None => fs::remove_dir_all(&directory)?,
        }
        played.unwrap_or_else(|| bail!("interrupted"))
    }

    async fn play_in(&self, directory: &Path, script: Option<live::Script>) -> anyhow::Result<()> {
        let mut mesh = Mesh::lay_out(directory.to_owned())?;
        let collector = Collector::start(mesh.world(), self.otlp.clone())?;
        mesh.start(&Collector::url(), self.app.as_deref()).await?;
        let mut stage = Stage { mesh, collector };
        let played = match script {
            Some(script) => live::watch(&mut stage, script).await,
            None => self.once(&mut stage).await,
        };
        played.and(stage.collector.take_failure().map_or(Ok(()), Err))
    }

    async fn once(&self, stage: &mut Stage) -> anyhow::Result<()> {
        let json = self.output == Output::Json;
        let played = acts::play(stage, |outcome| match json {
            true => Ok(ControlFlow::Continue(())),
            false => stdout::write(&report::text(outcome)),
        });
        let ControlFlow::Continue(outcomes) = played.await? else {
            return Ok(());
        };
        if json {
            stdout::finish(&(report::json(&outcomes)? + "\n"))?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.ok).count();
        if failed > 0 {
            bail!(
                "{failed} of {} acts did not happen as expected",
                outcomes.len()
            );
        }
        Ok(())
    }
}
