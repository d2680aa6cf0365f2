//! `buildnet report`.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_history::{BuildSelector, HistoryStore as _};
use buildnet_report::{Format, render};
use clap::Args;
use serde::Serialize;

use super::history::open;
use crate::context::Context;
use crate::output::{print, print_json};

/// Write a report of a build
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet report last --format html -o report.html\n  \
                        buildnet report last --format trace -o trace.json      for https://ui.perfetto.dev")]
pub(crate) struct ReportArgs {
    /// The build: its identifier or the beginning of it, `last`, or `last~1`
    #[arg(default_value = "last")]
    id: BuildSelector,
    /// json, html, md, trace (Chrome trace events), flame (SVG) or folded (stacks)
    #[arg(short, long, value_name = "FORMAT", value_parser = parse_format)]
    format: Option<Format>,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse()
        .map_err(|error| ErrorReport::of::<buildnet_report::ReportError>(&error))
        .map_err(|report| format!("{}. {}", report.message, report.hint.unwrap_or_default()))
}

/// What was written.
#[derive(Serialize)]
struct Written {
    path: String,
    bytes: usize,
}

pub(crate) fn run(args: &ReportArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let history = open(context)?;
    let build = history.resolve(&args.id).and_then(|id| history.build(id)).map_err(|error| ErrorReport::of(&error))?;
    let format = args.format.unwrap_or(if context.json { Format::Json } else { Format::Markdown });
    let report = render(&build, format).map_err(|error| ErrorReport::of(&error))?;
    let Some(path) = &args.output else {
        return match io::stdout().lock().write_all(&report) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(ErrorReport::environment("cannot write to standard output").because(&error))
            }
            _ => Ok(ExitCode::SUCCESS),
        };
    };
    fs::write(path, &report)
        .map_err(|error| ErrorReport::environment(format!("cannot write {}", path.display())).because(&error))?;
    let path = path.display().to_string();
    if context.json {
        print_json(&Written { path, bytes: report.len() })?;
    } else {
        print(&format!("Wrote {path}.\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
