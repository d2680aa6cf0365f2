//! `buildnet cache sweep`.

use std::process::ExitCode;
use std::time::Duration;

use buildnet_daemon::ErrorReport;
use buildnet_tiers::{Credentials, S3Backend, S3Location, Sweep, SweepReport};
use clap::Args;

use super::{parse_age, parse_size};
use crate::context::{Context, environment};
use crate::output::{print, print_json};
use crate::terminal::text::{bytes, count};
use crate::workspace;

#[derive(Clone, Debug, Args)]
pub(super) struct SweepArgs {
    /// The bucket, as `start --backing` has it
    #[arg(value_name = "URL")]
    bucket: String,
    /// Size to shrink to, such as 500GB; what was written first goes first
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "max_age")]
    max_size: Option<u64>,
    /// Remove what was written longer ago, such as 30d
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    max_age: Option<Duration>,
    /// Tell what would go, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(args: &SweepArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    // No token is asked for: buckets have keys.
    let tls = workspace::client_tls(context, &workspace::settings(context)?)?;
    let credentials = Credentials::from_environment(&environment(), "").with_tls(tls);
    let location = S3Location::parse(&args.bucket, &credentials).map_err(|error| ErrorReport::of(&error))?;
    let backend = S3Backend::new(location, &credentials).map_err(|error| ErrorReport::of(&error))?;
    let sweep = Sweep { max_age: args.max_age, max_bytes: args.max_size, dry_run: args.dry_run };
    let report = crate::run::runtime()?.block_on(backend.sweep(sweep, &|_, _| {}));
    let report = report.map_err(|error| ErrorReport::of(&error))?;
    if context.json {
        print_json(&report)?;
    } else {
        let SweepReport { objects, bytes: before, removed, removed_bytes } = report;
        let verb = if args.dry_run { "Would remove" } else { "Removed" };
        let (objects, removed) = (count(objects, "object"), count(removed, "object"));
        print(&format!("{verb} {removed} ({}) of {objects} ({}).\n", bytes(removed_bytes), bytes(before)))?;
    }
    Ok(ExitCode::SUCCESS)
}
