//! What a person types: one file per subcommand.

mod check;
mod cluster;
mod controller;
mod demo;
mod diagnose;
mod get;
mod init;
mod inject;
mod proxy;
mod sample_app;
mod stdout;
mod tap;
mod telemetry;
mod token;
mod top;
mod values;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::{failure, telemetry::logging};

/// A service mesh that turns the microservice patterns into configuration.
#[derive(Parser)]
#[command(name = "outrigger", version)]
enum Command {
    Check(check::CheckArgs),
    Controller(controller::ControllerArgs),
    Demo(demo::DemoArgs),
    Diagnose(diagnose::DiagnoseArgs),
    Get(get::GetArgs),
    Init(init::InitArgs),
    Inject(inject::InjectArgs),
    Proxy(Box<proxy::Proxy>),
    SampleApp(sample_app::SampleAppArgs),
    Tap(tap::TapArgs),
    Token(token::TokenArgs),
    Top(top::TopArgs),
    Wait(wait::WaitArgs),
}

/// Reads the command line, called by its own name or as a plugin of kubectl.
fn parse() -> Command {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = std::path::Path::new(&called)
        .file_stem()
        .unwrap_or_default();
    let mut command = Command::command();
    if called == "kubectl-outrigger" {
        command = command.bin_name("kubectl outrigger");
    }
    Command::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Runs the subcommand that the command line names.
pub fn run() -> ExitCode {
    let done = match parse() {
        Command::Check(args) => match args.run() {
            Ok(true) => Ok(()),
            // Every line has said what is wrong.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::Controller(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Diagnose(args) => args.run(),
        Command::Get(args) => args.run(),
        Command::Init(args) => args.run(),
        Command::Inject(args) => args.run(),
        Command::SampleApp(args) => args.run(),
        Command::Tap(args) => args.run(),
        Command::Top(args) => args.run(),
        Command::Token(args) => args.run(),
        Command::Proxy(args) => args.run(),
        Command::Wait(args) => args.run(),
    };
    match done {
        Ok(()) => {
            logging::finish();
            ExitCode::SUCCESS
        }
        Err(error) => {
            logging::last_word(&format!("outrigger: {}", failure::in_full(&error)));
            ExitCode::FAILURE
        }
    }
}
