//! `buildnet bitbake sigs`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::graph::task_row;
use buildnet_bitbake::workbench::{Answer, Question};
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, Wants, ended, show};
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
        if !args.write {
            let answer = place.ask(&Question::Sigs { targets: args.targets.clone(), rows: args.jsonl.is_some() })?;
            return Ok(show(&answer, args.jsonl.as_deref(), context)?);
        }
        let bench = place.open(false)?;
        let mut planned = place.plan(&bench, &Wants::targets(&args.targets, true))?;
        let hashed = place.hashes(&bench, &mut planned)?;
        let written = bench.write_signatures(&planned, &hashed).map_err(|error| place.failed(&error))?;
        print(&format!("signature data of {} tasks written\n", written.files))?;
        if let Some(path) = &args.jsonl {
            let rows = hashed.iter().flat_map(|task| [task_row(task).to_string(), "\n".to_owned()]).collect();
            show(&Answer { rows: Some(rows), ..Answer::default() }, Some(path), context)?;
        }
        Ok(ExitCode::SUCCESS)
    })())
}
