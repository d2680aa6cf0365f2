//! `buildnet bitbake parse`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Wanted;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, outcome, write_rows};
use crate::context::Context;
use crate::output::{print, print_json};

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
        let bench = place.open(false)?;
        let rows = args.jsonl.is_some();
        let reading = place.read(&bench, &Wanted { recipes: None, sign: rows, rows });
        if let Some(path) = &args.jsonl {
            let out = context.directory.join(path);
            write_rows(if path.as_os_str() == "-" { path } else { &out }, reading.rows.iter().cloned())?;
        }
        if context.json {
            print_json(&serde_json::json!({
                "recipes": reading.files, "variants": reading.recipes.len(),
                "skipped": reading.skipped(), "failed": reading.failed,
            }))?;
        } else if args.jsonl.as_ref().is_none_or(|path| path.as_os_str() != "-") {
            print(&format!(
                "{} recipes read: {} variants, {} skipped; {} with errors\n",
                reading.files,
                reading.recipes.len(),
                reading.skipped(),
                reading.failed
            ))?;
        }
        Ok(outcome(&reading.findings))
    })())
}
