//! The commands, one file each.

mod build;
mod completions;
mod start;
mod stop;

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Subcommand;

use crate::context::Context;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Build(build::BuildArgs),
    Test(build::TestArgs),
    Run(build::RunArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Completions(completions::CompletionsArgs),
}

/// Does it.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, ErrorReport> {
    match command {
        Command::Build(args) => build::build(args, context),
        Command::Test(args) => build::test(args, context),
        Command::Run(args) => build::run(args, context),
        Command::Start(args) => start::run(&args, context),
        Command::Stop(args) => stop::run(&args, context),
        Command::Completions(args) => completions::run(&args),
    }
}
