//! `buildnet bitbake lint`.

use std::process::ExitCode;

use buildnet_bitbake::workbench::lint;
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, ended, outcome};
use crate::output::print;
use crate::terminal::text::count;

/// Tell what is legal in the metadata and probably not meant
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake lint")]
pub(crate) struct LintArgs {}

pub(crate) fn run(place: &Place) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let (mut universe, reading) = place.universe(&bench)?;
        let findings = lint(&mut universe).map_err(|error| place.failed(&error))?;
        place.tell_all(&findings);
        print(&format!("{} told\n", count(findings.len() as u64, "doubt")))?;
        Ok(outcome(&reading.findings))
    })())
}
