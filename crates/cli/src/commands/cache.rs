//! `buildnet cache`.

mod archive;
mod curate;
mod push_sstate;
mod stats;
mod sweep;
mod token;

use std::process::ExitCode;
use std::time::Duration;

use buildnet_cas::Store;
use buildnet_daemon::ErrorReport;
use buildnet_daemon::facts::{CacheReduction, CacheVerification};
use buildnet_daemon::service::local::open_store;
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::output::{FAILED, print, print_json};
use crate::terminal::text::{bytes, count};
use crate::workspace;

/// Look at the cache, or make it smaller
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet cache stats         what it holds, and where it is")]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum CacheCommand {
    /// What the cache holds, and what the clients of a running daemon asked for
    #[command(after_help = "Example:\n  buildnet cache stats --json")]
    Stats,
    /// Evict what was not used for longest
    #[command(after_help = "Example:\n  buildnet cache gc --max-size 5GB --max-age 30d")]
    Gc {
        /// Size to shrink to, such as 5GB or 500MiB [default: the configured one]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// Evict what was not used for this long, such as 30d or 12h
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        max_age: Option<Duration>,
    },
    /// Remove everything
    #[command(after_help = "Example:\n  buildnet cache clear")]
    Clear,
    /// Read every blob and compare it with its digest; remove what is damaged
    #[command(after_help = "Example:\n  buildnet cache verify")]
    Verify,
    /// Copy results from one instance of a daemon's cache to another; needs a token of role admin
    #[command(after_help = "Example:\n  buildnet cache promote --from pr/123 --to main --all")]
    Promote(curate::PromoteArgs),
    /// Forget the results that somebody wrote to a daemon's cache; needs a token of role admin
    #[command(after_help = "Example:\n  buildnet cache purge --by-writer ci --since 2h --dry-run")]
    Purge(curate::PurgeArgs),
    /// Tokens of those who may use the daemon's cache
    #[command(after_help = "Example:\n  buildnet cache token new --name ci --role write --file tokens")]
    Token(token::TokenArgs),
    /// Upload BitBake's shared state, which BitBake itself only downloads
    #[command(after_help = "Example:\n  buildnet cache push-sstate build/sstate-cache --to http://cache:9876/sstate")]
    PushSstate(push_sstate::PushSstateArgs),
    /// Copy everything into a directory or a tar file
    #[command(
        after_help = "Examples:\n  buildnet cache export /mnt/backup          a directory, which can be continued\n  \
                            buildnet cache export cache.tar.zst        a file"
    )]
    Export(archive::ExportArgs),
    /// Take over an exported cache, or the directory of a bazel-remote cache
    #[command(after_help = "Examples:\n  buildnet cache import cache.tar.zst\n  \
                            buildnet cache import /var/bazel-remote --instance main")]
    Import(archive::ImportArgs),
    /// Make room in an S3 bucket behind a cache
    #[command(
        after_help = "Example:\n  buildnet cache sweep s3://bucket/prefix --max-age 30d --max-size 500GB --dry-run"
    )]
    Sweep(sweep::SweepArgs),
}

pub(crate) fn run(args: &CacheArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let open = || {
        let (directory, max_bytes) = workspace::cache(context)?;
        open_store(&directory, max_bytes)
    };
    match &args.command {
        CacheCommand::Promote(args) => curate::promote(args, context),
        CacheCommand::Purge(args) => curate::purge(args, context),
        CacheCommand::Token(args) => token::run(args, context),
        CacheCommand::PushSstate(args) => push_sstate::run(args, context),
        CacheCommand::Export(args) => archive::export(args, &open()?, context),
        CacheCommand::Import(args) => archive::import(args, &open()?, context),
        CacheCommand::Sweep(args) => sweep::run(args, context),
        CacheCommand::Stats => stats::run(open, context),
        CacheCommand::Gc { max_size, max_age } => {
            reduced(open()?.gc(*max_size, *max_age).map_err(|error| ErrorReport::of(&error))?.into(), context)
        }
        CacheCommand::Clear => reduced(open()?.clear().map_err(|error| ErrorReport::of(&error))?.into(), context),
        CacheCommand::Verify => verify(&open()?, context),
    }
}

fn reduced(report: CacheReduction, context: &Context) -> Result<ExitCode, ErrorReport> {
    if context.json {
        print_json(&report)?;
    } else {
        let (before, after) = (bytes(report.bytes_before), bytes(report.bytes_after));
        let (removed, kept) = (report.removed, report.kept);
        print(&format!("Removed {removed} entries, kept {kept}: {before} on disk before, {after} now.\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(store: &Store, context: &Context) -> Result<ExitCode, ErrorReport> {
    let report = store.verify(&mut |_, _| {}).map_err(|error| ErrorReport::of(&error))?;
    let report = CacheVerification::from(report);
    if context.json {
        print_json(&report)?;
    } else {
        let mut text = format!("Read {} ({}) and ", count(report.blobs, "blob"), bytes(report.bytes));
        text += &format!("{}.\n", count(report.action_results, "action result"));
        for digest in &report.corrupted {
            text += &format!("damaged, removed: {digest}\n");
        }
        if report.incomplete > 0 {
            text += &format!(
                "{} name blobs that are not there; they count as missing.\n",
                count(report.incomplete, "result")
            );
        }
        if report.corrupted.is_empty() {
            text += "Everything is as it was stored.\n";
        }
        print(&text)?;
    }
    Ok(if report.corrupted.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Reads a size: a number and `B`, `KB`, `MB`, `GB`, `TB` or `KiB`, `MiB`, `GiB`, `TiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    parse_quantity(text, &UNITS).ok_or_else(|| "a size is a number and a unit, such as 5GB or 500MiB".to_owned())
}

/// Reads a time: a number and `s`, `m`, `h`, `d` or `w`.
fn parse_age(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
    let seconds = parse_quantity(text, &UNITS);
    seconds.map(Duration::from_secs).ok_or_else(|| "an age is a number and a unit, such as 30d or 12h".to_owned())
}

fn parse_quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("500 MiB"), Ok(500 << 20));
        assert_eq!(parse_size("42"), Ok(42));
        assert_eq!(parse_age("30d"), Ok(Duration::from_hours(30 * 24)));
        for wrong in ["", "GB", "5 parsecs", "-1", "99999999999TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
