//! `buildnet bitbake graph`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::{graph_dot, graph_json};
use buildnet_daemon::ErrorReport;
use clap::{Args, ValueEnum};

use super::place::{Place, Wants, ended};
use crate::context::Context;
use crate::output::{print, print_json};

/// How to write a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Graphviz
    Dot,
    /// For programs
    Json,
}

/// Show the tasks that targets need, and which wait for which
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake graph zlib:do_compile --format dot > zlib.dot")]
pub(crate) struct GraphArgs {
    /// What to build: NAME, or NAME:TASK
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// How to write it [default: dot, or json with --json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

pub(crate) fn run(args: &GraphArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let wants = Wants::targets(&args.targets, false);
        let planned = place.plan(&bench, &wants)?;
        match args.format.unwrap_or(if context.json { Format::Json } else { Format::Dot }) {
            Format::Dot => print(&graph_dot(&planned))?,
            Format::Json => print_json(&graph_json(&planned))?,
        }
        Ok(ExitCode::SUCCESS)
    })())
}
