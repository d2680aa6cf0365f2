//! `buildnet bitbake layers`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Show the layers with their priorities and how many recipes each has
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake layers")]
pub(crate) struct LayersArgs {}

pub(crate) fn run(place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| Ok(show(&place.ask(&Question::Layers)?, None, context)?))())
}
