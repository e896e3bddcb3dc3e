//! What a person types: one file per subcommand.

use std::process::ExitCode;

use clap::Parser;

/// A service mesh that turns the microservice patterns into configuration.
#[derive(Parser)]
#[command(version)]
enum Command {}

/// Runs the subcommand that the command line names.
pub fn run() -> ExitCode {
    let command = Command::parse();
    match command {}
}
