//! `buildnet bitbake why`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Tell in words why a task's hash is not the one it was
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  buildnet bitbake why zlib:do_compile       against what the last build left beside its stamps"
)]
pub(crate) struct WhyArgs {
    /// The task: RECIPE:TASK
    #[arg(value_name = "RECIPE:TASK")]
    task: String,
    /// A sigdata or siginfo file, or a directory of stamps [default: where the recipe keeps its stamps]
    #[arg(long, value_name = "STAMPS|SIGDATA")]
    against: Option<PathBuf>,
}

pub(crate) fn run(args: &WhyArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    if !args.task.contains(':') {
        return Err(ErrorReport::user(format!("{} names no task", args.task)).with_hint("Write RECIPE:TASK."));
    }
    let against = args.against.as_ref().map(|path| context.directory.join(path));
    ended((|| Ok(show(&place.ask(&Question::Why { task: args.task.clone(), against })?, None, context)?))())
}
