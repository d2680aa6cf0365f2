//! `buildnet config`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::facts::Configuration;
use clap::Args;

use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::text::bytes;
use crate::workspace;

/// Show the settings in force here
///
/// A flag decides over a BUILDNET_ variable, that over buildnet.yaml, that over the user's file (config.yaml in the directory buildnet
/// of the user's configuration directory), that over the default.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet config --json")]
pub(crate) struct ConfigArgs {}

pub(crate) fn run(context: &Context) -> Result<ExitCode, ErrorReport> {
    let settings = Configuration::of(&workspace::load(context)?, &context.cache_dir);
    if context.json {
        print_json(&settings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = settings.jobs.map_or_else(|| "one per core".to_owned(), |jobs| jobs.to_string());
    let rows = [
        ("workspace", settings.workspace),
        ("packages", format!("{}, found by {}", settings.packages, settings.managers.join(", "))),
        ("cache", format!("{}, at most {}", settings.cache_dir, bytes(settings.cache_max_size))),
        ("remote", settings.remote_cache.unwrap_or_else(|| "none".to_owned())),
        ("jobs", jobs),
        ("keep going", if settings.keep_going { "yes" } else { "no" }.to_owned()),
        ("sandbox", settings.sandbox),
        ("daemon", context.daemon.address().to_string()),
    ];
    print(&rows.map(|(name, value)| format!("{name:<11} {value}\n")).concat())?;
    Ok(ExitCode::SUCCESS)
}
