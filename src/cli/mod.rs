//! What a person types: one file per subcommand.

mod init;

use std::process::ExitCode;

use clap::Parser;

/// A service mesh that turns the microservice patterns into configuration.
#[derive(Parser)]
#[command(name = "outrigger", version)]
enum Command {
    Init(init::InitArgs),
}

/// Runs the subcommand that the command line names.
pub fn run() -> ExitCode {
    let done = match Command::parse() {
        Command::Init(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outrigger: {error:#}");
            ExitCode::FAILURE
        }
    }
}
