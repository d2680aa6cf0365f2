//! The commands, one file each.

mod bench;
mod bitbake;
mod build;
mod cache;
mod clean;
mod completions;
mod config;
mod doctor;
mod graph;
mod history;
mod init;
mod query;
mod report;
mod schema;
mod start;
mod status;
mod stop;
mod watch;
mod why;

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Subcommand;

pub(crate) use bitbake::front as bitbake_front;
pub(crate) use start::under_its_name as under_the_daemons_name;

use crate::context::Context;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Build(build::BuildArgs),
    Test(build::TestArgs),
    Run(build::RunArgs),
    Watch(watch::WatchArgs),
    Why(why::WhyArgs),
    Status(status::StatusArgs),
    Graph(graph::GraphArgs),
    Query(query::QueryArgs),
    Bitbake(bitbake::BitbakeArgs),
    History(history::HistoryArgs),
    Report(report::ReportArgs),
    Cache(cache::CacheArgs),
    Bench(bench::BenchArgs),
    Clean(clean::CleanArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Init(init::InitArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
}

/// Does it.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, ErrorReport> {
    match command {
        Command::Build(args) => build::build(args, context),
        Command::Test(args) => build::test(args, context),
        Command::Run(args) => build::run(args, context),
        Command::Watch(args) => watch::run(args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Status(_) => status::run(context),
        Command::Graph(args) => graph::run(args, context),
        Command::Query(args) => query::run(args, context),
        Command::Bitbake(args) => bitbake::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Report(args) => report::run(&args, context),
        Command::Cache(args) => cache::run(&args, context),
        Command::Bench(args) => bench::run(&args, context),
        Command::Clean(_) => clean::run(context),
        Command::Start(args) => start::run(&args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Config(_) => config::run(context),
        Command::Doctor(_) => doctor::run(context),
        Command::Schema(_) => schema::run(),
        Command::Completions(args) => completions::run(&args),
    }
}
