//! `buildnet query`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;

use crate::context::Context;
use crate::output::{print, print_json};
use crate::workspace;

/// Choose packages by an expression
///
/// Expressions: names and globs, all(), deps(x), rdeps(x), attr(lang, ts), kind(npm), and x union y, x intersect y, x except y.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet query 'rdeps(shared) intersect attr(lang, ts)'\n  \
                        buildnet build $(buildnet query 'rdeps(core, 1)')")]
pub(crate) struct QueryArgs {
    /// The expression
    expression: String,
}

pub(crate) fn run(args: &QueryArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let packages = workspace::load(context)?.query(&args.expression).map_err(|error| ErrorReport::of(&error))?;
    if context.json {
        print_json(&packages)?;
    } else {
        print(&packages.iter().flat_map(|package| [&**package, "\n"]).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
