//! `buildnet bitbake recipes`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Show every recipe variant: name, version, file; and why it is skipped
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake recipes")]
pub(crate) struct RecipesArgs {}

pub(crate) fn run(place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| Ok(show(&place.ask(&Question::Recipes)?, None, context)?))())
}
