//! `buildnet bitbake sigs`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::graph::task_row;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, Wants, ended, write_rows};
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

pub(crate) fn run(args: &SigsArgs, place: &Place) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let wants = Wants::targets(&args.targets, true);
        let mut planned = place.plan(&bench, &wants)?;
        let hashed = place.hashes(&bench, &mut planned)?;
        if args.write {
            let written = bench.write_signatures(&planned, &hashed).map_err(|error| place.failed(&error))?;
            print(&format!("signature data of {written} tasks written\n"))?;
        }
        if let Some(path) = &args.jsonl {
            write_rows(path, hashed.iter().map(task_row))?;
        } else if !args.write {
            let mut out = String::new();
            for task in &hashed {
                out += &format!("{} {} {}\n", task.basehash, task.taskhash, task.id);
            }
            print(&out)?;
        }
        Ok(ExitCode::SUCCESS)
    })())
}
