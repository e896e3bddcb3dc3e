//! Where log lines of the long-running roles go: standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Chooses what is logged, in the syntax of `tracing_subscriber::EnvFilter`; by default `info`.
const VARIABLE: &str = "OUTRIGGER_LOG";

/// Starts logging. Only for `main`'s side of the program: there is one log in a process.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
