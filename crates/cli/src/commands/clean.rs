//! `buildnet clean`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::output::{print, print_json};
use crate::{local, run, workspace};

/// Remove the outputs of all tasks from the workspace
///
/// The cache keeps them: the next build restores what it needs. `buildnet cache clear` empties the cache.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet clean && buildnet build     restores everything from the cache")]
pub(crate) struct CleanArgs {}

/// What was removed.
#[derive(Serialize)]
struct Cleaned {
    outputs: usize,
}

pub(crate) fn run(context: &Context) -> Result<ExitCode, ErrorReport> {
    let root = workspace::root(context)?;
    let service = local::service(context, false);
    let outputs = run::runtime()?.block_on(service.workbench().clean(&root))?;
    if context.json {
        print_json(&Cleaned { outputs })?;
    } else {
        print(&format!("Removed {outputs} outputs.\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
