//! What a person types: one file per subcommand.

mod controller;
mod demo;
mod init;
mod log;
mod proxy;
mod sample_app;
mod telemetry;
mod token;

use std::process::ExitCode;

use clap::Parser;

/// A service mesh that turns the microservice patterns into configuration.
#[derive(Parser)]
#[command(name = "outrigger", version)]
enum Command {
    Controller(controller::ControllerArgs),
    Demo(demo::DemoArgs),
    Init(init::InitArgs),
    Proxy(Box<proxy::Proxy>),
    SampleApp(sample_app::SampleAppArgs),
    Token(token::TokenArgs),
}

/// Runs the subcommand that the command line names.
pub fn run() -> ExitCode {
    let done = match Command::parse() {
        Command::Controller(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Init(args) => args.run(),
        Command::SampleApp(args) => args.run(),
        Command::Token(args) => {
            args.run();
            Ok(())
        }
        Command::Proxy(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outrigger: {error:#}");
            ExitCode::FAILURE
        }
    }
}
