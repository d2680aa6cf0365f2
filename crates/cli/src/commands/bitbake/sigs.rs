//! `buildnet bitbake sigs`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

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
}

pub(crate) fn run(args: &SigsArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let answer = place.ask(Question::Sigs { targets: args.targets.clone(), rows: args.jsonl.is_some() })?;
        Ok(show(&answer, args.jsonl.as_deref(), context)?)
    })())
}
