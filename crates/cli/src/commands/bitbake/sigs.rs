//! `buildnet bitbake sigs`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;
use crate::output::print;

/// Show the basehash and the taskhash of every task that targets need
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake sigs core-image-minimal --jsonl tasks.jsonl")]
pub(crate) struct SigsArgs {
    /// What to build: NAME, or NAME:TASK
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// Write one JSON object per task, with what enters its hash; `-` for standard output
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Write each task's signature data beside its stamp, for `bitbake-diffsigs` and `bitbake-dumpsig`
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &SigsArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let (targets, rows, write) = (args.targets.clone(), args.jsonl.is_some(), args.write);
        let mut answer = place.ask(&Question::Sigs { targets, rows, write })?;
        if write {
            print(&std::mem::take(&mut answer.text))?;
        }
        Ok(show(&answer, args.jsonl.as_deref(), context)?)
    })())
}
