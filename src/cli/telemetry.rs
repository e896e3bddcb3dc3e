//! The telemetry options that long-running roles have in common.

use std::path::PathBuf;

use clap::Args;

use crate::telemetry::{
    access_log::Output,
    logging::{self, LogFormat, LogLevel},
};

#[derive(Args)]
pub struct TelemetryArgs {
    /// off, error, warn, info, debug or trace, or targets like info,outrigger::proxy=debug.
    #[arg(
        long,
        env = "OUTRIGGER_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,
    /// One JSON object a line instead of text.
    #[arg(long)]
    log_json: bool,
    /// Where spans go: http://HOST:4317 for gRPC, http://HOST:4318/v1/traces for HTTP.
    #[arg(long, env = "OUTRIGGER_OTLP", value_name = "URL")]
    pub otlp: Option<String>,
    /// Share of the traces begun here that are recorded, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    pub trace_ratio: f64,
    /// Write the access log to this file; - for standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Share of the successes in the access log, 0 to 1; failures are always there.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    access_log_ratio: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share: write a number from 0 to 1"))
}

impl TelemetryArgs {
    pub fn init_logging(&self) -> Result<LogLevel, logging::LogError> {
        let format = if self.log_json {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        logging::init(&self.log, format)
    }

    pub fn access_log(&self) -> Option<(Output, f64)> {
        let file = self.access_log.as_ref()?;
        let output = if file.as_os_str() == "-" {
            Output::Stdout
        } else {
            Output::File(file.clone())
        };
        Some((output, self.access_log_ratio))
    }
}
