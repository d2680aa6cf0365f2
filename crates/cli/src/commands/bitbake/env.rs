//! `buildnet bitbake env`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::{Question, Variables};
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Show variables, and every line that set them
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  buildnet bitbake env -v MACHINE --history        the configuration's value, and who set it\n  \
                        buildnet bitbake env zlib -v SRC_URI              a recipe's value"
)]
pub(crate) struct EnvArgs {
    /// A recipe, by anything it provides or by its path [default: the configuration]
    #[arg(value_name = "RECIPE")]
    recipe: Option<String>,
    /// This variable alone; -v for short
    #[arg(long = "variable", value_name = "VAR")]
    variable: Option<String>,
    /// Also every line that set it
    #[arg(long)]
    history: bool,
}

pub(crate) fn run(args: &EnvArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    let EnvArgs { recipe, variable, history } = args.clone();
    ended((|| Ok(show(&place.ask(&Question::Env(Variables { recipe, variable, history }))?, None, context)?))())
}
