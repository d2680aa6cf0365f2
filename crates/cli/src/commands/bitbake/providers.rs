//! `buildnet bitbake providers`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Show what provides an item, the chosen one first
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake providers virtual/kernel")]
pub(crate) struct ProvidersArgs {
    /// A recipe's name, something in PROVIDES, or a package
    #[arg(value_name = "ITEM")]
    item: String,
}

pub(crate) fn run(args: &ProvidersArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| Ok(show(&place.ask(&Question::Providers { item: args.item.clone() })?, None, context)?))())
}
