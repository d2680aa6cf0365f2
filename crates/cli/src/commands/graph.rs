//! `buildnet graph`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_workspace::Request;
use clap::{Args, ValueEnum};

use crate::context::Context;
use crate::output::print;
use crate::workspace;

/// How to write a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A tree for people
    Text,
    /// For Graphviz
    Dot,
    /// For programs
    Json,
}

/// Show which tasks wait for which
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet graph api           what `api:build` waits for\n  \
                        buildnet graph --format dot | dot -Tsvg -o graph.svg")]
pub(crate) struct GraphArgs {
    /// Packages [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// The task
    #[arg(short, long, default_value = "build")]
    task: String,
    /// How to write it [default: text, or json with --json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

pub(crate) fn run(args: GraphArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let request = Request { task: args.task, packages: args.packages };
    let graph = workspace::load(context)?.graph(&request).map_err(|errors| ErrorReport::of(&errors))?;
    let format = args.format.unwrap_or(if context.json { Format::Json } else { Format::Text });
    print(&match format {
        Format::Text => graph.to_text(),
        Format::Dot => graph.to_dot(),
        Format::Json => graph.to_json(),
    })?;
    Ok(ExitCode::SUCCESS)
}
