//! `buildnet bitbake lint`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, show};
use crate::context::Context;

/// Tell what is legal in the metadata and probably not meant
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  buildnet bitbake lint\n  buildnet bitbake lint ../meta-mine --json      one layer alone, for programs"
)]
pub(crate) struct LintArgs {
    /// Only what lies in these files, or below these directories [default: all layers]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: &LintArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    let absolute = |path: &PathBuf| -> Result<String, ErrorReport> {
        let path = context.directory.join(path);
        let found = path
            .canonicalize()
            .map_err(|error| ErrorReport::user(format!("there is no {}", path.display())).because(&error))?;
        Ok(found.display().to_string())
    };
    let paths = args.paths.iter().map(absolute).collect::<Result<_, ErrorReport>>()?;
    ended((|| Ok(show(&place.ask(&Question::Lint { paths })?, None, context)?))())
}
