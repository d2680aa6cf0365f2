//! `buildnet bitbake`, and the program under the name `bitbake`.

mod env;
pub(crate) mod front;
mod graph;
mod layers;
mod lint;
mod parse;
pub(crate) mod place;
mod providers;
pub(crate) mod query;
mod recipes;
mod sigs;
mod why;

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::{Args, Subcommand};

use crate::context::Context;

/// Read BitBake metadata: recipes, variables, task graphs, signatures
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  buildnet bitbake parse       read every recipe of the build directory you stand in"
)]
pub(crate) struct BitbakeArgs {
    #[command(flatten)]
    place: place::PlaceArgs,
    #[command(subcommand)]
    command: BitbakeCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BitbakeCommand {
    Parse(parse::ParseArgs),
    Env(env::EnvArgs),
    Graph(graph::GraphArgs),
    Sigs(sigs::SigsArgs),
    Why(why::WhyArgs),
    Layers(layers::LayersArgs),
    Recipes(recipes::RecipesArgs),
    Providers(providers::ProvidersArgs),
    Lint(lint::LintArgs),
}

pub(crate) fn run(args: BitbakeArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let place = args.place.resolve(context);
    match args.command {
        BitbakeCommand::Parse(args) => parse::run(&args, &place, context),
        BitbakeCommand::Env(args) => env::run(&args, &place),
        BitbakeCommand::Graph(args) => graph::run(&args, &place, context),
        BitbakeCommand::Sigs(args) => sigs::run(&args, &place, context),
        BitbakeCommand::Why(args) => why::run(&args, &place),
        BitbakeCommand::Layers(_) => layers::run(&place, context),
        BitbakeCommand::Recipes(_) => recipes::run(&place, context),
        BitbakeCommand::Providers(args) => providers::run(&args, &place, context),
        BitbakeCommand::Lint(args) => lint::run(&args, &place, context),
    }
}
