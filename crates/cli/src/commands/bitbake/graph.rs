//! `buildnet bitbake graph`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::{Args, ValueEnum};

use super::place::{Place, ended, show};
use crate::context::Context;

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
    let format = args.format.unwrap_or(if context.json { Format::Json } else { Format::Dot });
    let question = Question::Graph { targets: args.targets.clone(), dot: format == Format::Dot };
    ended((|| Ok(show(&place.ask(&question)?, None, context)?))())
}
