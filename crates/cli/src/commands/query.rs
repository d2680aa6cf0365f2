//! `buildnet query`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_workspace::{Query, QueryGraph as _};
use clap::Args;

use super::bitbake::place::{PlaceArgs, Stop, ended};
use super::bitbake::query::{PREFIX, Tasks};
use crate::context::Context;
use crate::output::{print, print_json};
use crate::workspace;

/// Choose packages, or tasks of recipes, by an expression
///
/// Expressions: names and globs, all(), deps(x), rdeps(x), path(x, y), allpaths(x, y), attr(lang, ts), kind(npm), and x union y,
/// x intersect y, x except y. A name such as bitbake:zlib or bitbake:zlib:do_compile asks the task graph of recipes.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet query 'rdeps(shared) intersect attr(lang, ts)'\n  \
                        buildnet build $(buildnet query 'rdeps(core, 1)')\n  \
                        buildnet query 'path(bitbake:core-image-minimal:do_build, bitbake:zlib:do_fetch)'\n  \
                        buildnet query --universe core-image-minimal --recipes 'rdeps(bitbake:zlib, 1)'")]
pub(crate) struct QueryArgs {
    /// The expression
    expression: String,
    /// Ask the task graph of recipes, though no name begins with bitbake:
    #[arg(long)]
    bitbake: bool,
    /// The targets in whose graph to look [default: those that the expression names]
    #[arg(long, value_name = "TARGET")]
    universe: Vec<String>,
    /// Show the recipes of the tasks
    #[arg(long)]
    recipes: bool,
    #[command(flatten, next_help_heading = "Recipes")]
    place: PlaceArgs,
}

pub(crate) fn run(args: QueryArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let query = Query::new(&args.expression).map_err(|error| ErrorReport::of(&error))?;
    let of_recipes = args.bitbake
        || args.recipes
        || !args.universe.is_empty()
        || query.names().iter().any(|name| name.starts_with(PREFIX));
    if of_recipes {
        return ended(tasks(args, &query, context));
    }
    let packages = workspace::load(context)?.query(&args.expression).map_err(|error| ErrorReport::of(&error))?;
    let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
    show(&names, context)
}

fn tasks(args: QueryArgs, query: &Query, context: &Context) -> Result<ExitCode, Stop> {
    let tasks = Tasks::of(query, &args.universe, &args.place.resolve(context))?;
    let chosen = query.nodes(&tasks).map_err(|error| ErrorReport::of(&error))?;
    let names =
        if args.recipes { tasks.recipes(&chosen) } else { chosen.into_iter().map(|node| tasks.name(node)).collect() };
    Ok(show(&names, context)?)
}

fn show(names: &[String], context: &Context) -> Result<ExitCode, ErrorReport> {
    if context.json {
        print_json(&names)?;
    } else {
        print(&names.iter().flat_map(|name| [name.as_str(), "\n"]).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}
