//! `buildnet bitbake lint`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Tell what is legal in the metadata and probably not meant
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake lint")]
pub(crate) struct LintArgs {}

pub(crate) fn run(place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| Ok(show(&place.ask(&Question::Lint)?, None, context)?))())
}
