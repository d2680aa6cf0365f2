//! `buildnet init`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_workspace::FILE_NAME;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::output::{print, print_json};

/// Propose a buildnet.yaml for this directory
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet init --print        show it, and write nothing")]
pub(crate) struct InitArgs {
    /// Write it to standard output instead of the file
    #[arg(short, long)]
    print: bool,
}

/// What was made.
#[derive(Serialize)]
struct Made {
    path: String,
    text: String,
}

pub(crate) fn run(args: InitArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let text = buildnet_workspace::init(&context.directory).map_err(|errors| ErrorReport::of(&errors))?;
    if args.print {
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = context.directory.join(FILE_NAME);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| ErrorReport::environment(format!("cannot write {}", path.display())).because(&error))?;
    if context.json {
        print_json(&Made { path: path.display().to_string(), text })?;
    } else {
        print(&format!("Wrote {}. `buildnet build` builds what it describes.\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
