//! `buildnet status`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::facts::{CacheStats, Configuration};
use buildnet_daemon::server::routes::status::Status;
use buildnet_daemon::service::local::{history_path, open_store, read_history};
use buildnet_history::{BuildHead, HistoryStore as _, Page};
use clap::Args;
use serde::Serialize;

use super::history::counts_in_words;
use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::text::{bytes, clean, duration};
use crate::time::{ago, now_ms};
use crate::workspace;

/// Show the workspace, the daemon, the cache and the last build
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet status --json")]
pub(crate) struct StatusArgs {}

/// Everything at a glance.
#[derive(Serialize)]
struct Overview {
    configuration: Configuration,
    /// Packages by kind.
    kinds: BTreeMap<String, usize>,
    daemon: Option<Status>,
    /// Why the daemon cannot be used, where one is there.
    daemon_error: Option<ErrorReport>,
    cache: Option<CacheStats>,
    last_build: Option<BuildHead>,
}

pub(crate) fn run(context: &Context) -> Result<ExitCode, ErrorReport> {
    let overview = look(context)?;
    if context.json {
        print_json(&overview)?;
    } else {
        print(&describe(&overview, context))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look(context: &Context) -> Result<Overview, ErrorReport> {
    let workspace = workspace::load(context)?;
    let configuration = Configuration::of(&workspace, &context.cache_dir);
    let mut kinds = BTreeMap::new();
    for package in workspace.packages.values() {
        *kinds.entry(package.kind.name().to_owned()).or_default() += 1;
    }
    let (daemon, daemon_error) = match context.daemon.get::<Status>("/status") {
        Ok(status) => (status, None),
        Err(error) => (None, Some(error.report())),
    };
    let cache_dir = std::path::Path::new(&configuration.cache_dir);
    // Looking makes nothing: neither a cache nor a history.
    let cache = cache_dir.is_dir().then(|| open_store(cache_dir, configuration.cache_max_size)).transpose()?;
    let cache = cache.and_then(|store| store.stats().ok()).map(CacheStats::from);
    let last_build = if history_path(&workspace.root).exists() {
        let builds = read_history(&workspace.root)?.builds(Page::newest(1)).map_err(|error| ErrorReport::of(&error))?;
        builds.into_iter().next()
    } else {
        None
    };
    Ok(Overview { configuration, kinds, daemon, daemon_error, cache, last_build })
}

fn describe(overview: &Overview, context: &Context) -> String {
    let kinds = overview.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ");
    let address = context.daemon.address();
    let daemon = match (&overview.daemon, &overview.daemon_error) {
        (Some(status), _) => format!(
            "{address}, process {}, up {}, {} resident, {} in flight",
            status.health.pid,
            duration(status.uptime_s * 1_000_000),
            bytes(status.memory.unwrap_or(0)),
            status.builds.len(),
        ),
        (None, Some(error)) => format!("{address}: {}", error.message),
        (None, None) => "not running (`buildnet start --detach` starts it)".to_owned(),
    };
    let cache = overview.cache.as_ref().map_or_else(
        || "empty".to_owned(),
        |cache| format!("{} of {}, {} results", bytes(cache.disk_bytes), bytes(cache.max_bytes), cache.action_results),
    );
    let last = overview.last_build.as_ref().map_or_else(
        || "none yet".to_owned(),
        |build| {
            let (when, took) = (ago(build.started_ms, now_ms()), duration(build.duration_us));
            let (command, counts) = (clean(&build.command, false), counts_in_words(&build.counts));
            format!("`{command}` {when}: {} in {took}; {counts}", build.status.name())
        },
    );
    let rows = [
        ("workspace", overview.configuration.workspace.clone()),
        ("packages", kinds),
        ("daemon", daemon),
        ("cache", format!("{}: {cache}", overview.configuration.cache_dir)),
        ("last build", last),
    ];
    rows.map(|(name, value)| format!("{name:<11} {value}\n")).concat()
}
