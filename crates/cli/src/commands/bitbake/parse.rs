//! `buildnet bitbake parse`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Read every recipe of every layer, and tell every error
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  buildnet bitbake parse --jsonl recipes.jsonl       one line per recipe variant, with hashes"
)]
pub(crate) struct ParseArgs {
    /// Write one JSON object per recipe variant, with its variables, tasks and basehashes; `-` for standard output
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
}

pub(crate) fn run(args: &ParseArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let answer = place.ask(&Question::Parse { rows: args.jsonl.is_some() })?;
        Ok(show(&answer, args.jsonl.as_deref(), context)?)
    })())
}
