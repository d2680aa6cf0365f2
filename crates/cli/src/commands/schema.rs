//! `buildnet schema`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;

use crate::output::print;

/// Write the JSON schema of buildnet.yaml
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet schema > buildnet.schema.json")]
pub(crate) struct SchemaArgs {}

pub(crate) fn run() -> Result<ExitCode, ErrorReport> {
    print(&buildnet_workspace::schema())?;
    Ok(ExitCode::SUCCESS)
}
