//! `buildnet cache export` and `buildnet cache import`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use buildnet_cas::Store;
use buildnet_daemon::ErrorReport;
use buildnet_reapi::{CacheOptions, CacheService, Identity, Role};
use buildnet_tiers::archive::{self, ArchiveReport, Importing};
use clap::Args;

use crate::context::Context;
use crate::output::{FAILED, print, print_json};
use crate::terminal::messages::Verbosity;
use crate::terminal::text::{bytes, count};

/// How often the progress is told.
const TELL: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Args)]
pub(super) struct ExportArgs {
    /// Where to: a file if the name ends with .tar or .tar.zst, else a directory
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Tell what would be copied, and copy nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ImportArgs {
    /// What was exported, or the directory of a bazel-remote cache
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Instance for the results of a bazel-remote cache; may be given several times [default: the default instance]
    #[arg(long, value_name = "NAME")]
    instance: Vec<String>,
    /// Read and check everything, and store nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn export(args: &ExportArgs, store: &Store, context: &Context) -> Result<ExitCode, ErrorReport> {
    let target = context.directory.join(&args.target);
    let mut teller = Teller::new("Exported", context);
    let report = archive::export(store, &target, args.dry_run, &mut |report| teller.tell(report));
    let report = report.map_err(|error| ErrorReport::of(&error))?;
    let verb = if args.dry_run { "Would export" } else { "Exported" };
    finish(&report, verb, context)
}

pub(super) fn import(args: &ImportArgs, store: &Store, context: &Context) -> Result<ExitCode, ErrorReport> {
    let source = context.directory.join(&args.source);
    let default = [String::new()];
    let instances = if args.instance.is_empty() { &default[..] } else { &args.instance };
    for instance in instances {
        buildnet_reapi::namespace::check(instance).map_err(|error| ErrorReport::user(error.to_string()))?;
    }
    // Where the daemon keeps who wrote what, so that an import can be taken back: `cache purge --by-writer import`.
    let directory = store.dir().join("clients");
    let service = CacheService::open(store.clone(), &directory, CacheOptions::default());
    let service = service.map_err(|error| ErrorReport::of(&error))?;
    let writer = Identity::new("import", Role::Write);
    let importing = Importing { source: &source, instances, writer, dry_run: args.dry_run };
    let mut teller = Teller::new("Imported", context);
    let report = archive::import(&service, &importing, &mut |report| teller.tell(report));
    let report = report.map_err(|error| ErrorReport::of(&error))?;
    let verb = if args.dry_run { "Would import" } else { "Imported" };
    finish(&report, verb, context)
}

fn finish(report: &ArchiveReport, verb: &str, context: &Context) -> Result<ExitCode, ErrorReport> {
    if context.json {
        print_json(report)?;
    } else {
        print(&told(report, verb))?;
    }
    Ok(if report.problem_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn told(report: &ArchiveReport, verb: &str) -> String {
    let (blobs, results) = (count(report.blobs, "blob"), count(report.results, "result"));
    let mut text = format!("{verb} {blobs} ({}) and {results}", bytes(report.bytes));
    if report.present > 0 {
        text += &format!("; {} there already", report.present);
    }
    text += ".\n";
    if report.incomplete > 0 {
        let results = count(report.incomplete, "result");
        text += &format!("Left out {results} whose blobs are not all there.\n");
    }
    for problem in &report.problems {
        text += &format!("left out: {}: {}\n", problem.name.escape_debug(), problem.reason.escape_debug());
    }
    let more = report.problem_count - report.problems.len() as u64;
    if more > 0 {
        text += &format!("left out: {more} more\n");
    }
    text
}

/// Tells the progress now and then, where somebody looks.
struct Teller {
    verb: &'static str,
    shown: bool,
    last: Instant,
}

impl Teller {
    fn new(verb: &'static str, context: &Context) -> Self {
        let quiet = context.json || context.teller.verbosity == Verbosity::Quiet;
        Self { verb, shown: !quiet && std::io::stderr().is_terminal(), last: Instant::now() }
    }

    fn tell(&mut self, report: &ArchiveReport) {
        if self.shown && self.last.elapsed() >= TELL {
            self.last = Instant::now();
            let done = count(report.blobs + report.results + report.present, "item");
            eprintln!("{} {done} so far, {} of content", self.verb, bytes(report.bytes));
        }
    }
}
