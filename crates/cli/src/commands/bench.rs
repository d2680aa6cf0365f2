//! `buildnet bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use buildnet_daemon::ErrorReport;
use buildnet_reapi::load::{self, LoadOptions, Workload};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::cache::parse_size;
use crate::context::Context;
use crate::output::{print, print_json};
use crate::run::runtime;

/// Measure servers
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bench cache --target grpc://127.0.0.1:9876 --instance main")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    Cache(CacheBenchArgs),
}

/// Measure any cache that speaks the Remote Execution API
///
/// Writes new blobs and action results, reads them back, and checks every answer: what is read is compared byte for byte with
/// what was written. A wrong answer ends the run. What is written stays in the cache until it is evicted.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet bench cache --target grpc://127.0.0.1:9876 --instance main\n  \
                  buildnet bench cache --target grpc://127.0.0.1:50051/main --workload batch-read,find-missing --json")]
struct CacheBenchArgs {
    /// The server, as `grpc://HOST:PORT[/INSTANCE]`
    #[arg(long, value_name = "URL")]
    target: String,
    /// The instance, where the target names none
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Longest time of each workload, in seconds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Most requests of each workload
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Requests in flight at once, over all connections
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Size of small blobs, at least 16 bytes
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_size)]
    small: u64,
    /// Blobs in one batch, as the size of all
    #[arg(long, value_name = "SIZE", default_value = "60KB", value_parser = parse_size)]
    batch: u64,
    /// Size of large blobs
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    large: u64,
    /// Digests in one FindMissingBlobs
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    digests: u16,
    /// What to measure, in this order [default: everything]
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(Workload::ALL.map(Workload::name)))]
    workloads: Vec<String>,
    /// Also tell how near each line comes to what this machine allows; its disk is measured by files in DIR
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    machine: Option<PathBuf>,
}

pub(crate) fn run(args: &BenchArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let BenchCommand::Cache(args) = &args.command;
    let target = target_of(args)?;
    let options = options_of(args)?;
    let token = context.token.as_deref();
    let measured = runtime()?.block_on(load::run(&target, token, &options, |measurement| {
        // A run takes a while: each line when it is there. For machines it is progress.
        let line = format!("{measurement}\n");
        if context.json {
            eprint!("{line}");
        } else {
            // What cannot be printed now fails at the end.
            let _ = print(&line);
        }
    }));
    let report = measured.map_err(|error| ErrorReport::of(&error))?;
    if context.json {
        print_json(&report)?;
    } else if let Some(machine) = &report.machine {
        print(&format!("{machine}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn target_of(args: &CacheBenchArgs) -> Result<String, ErrorReport> {
    let target = args.target.trim_end_matches('/');
    let named = target.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    match &args.instance {
        Some(_) if named => Err(ErrorReport::user(format!("{target} names an instance already"))
            .with_hint("Leave --instance away, or the end of --target.")),
        Some(instance) => Ok(format!("{target}/{instance}")),
        None => Ok(target.to_owned()),
    }
}

fn options_of(args: &CacheBenchArgs) -> Result<LoadOptions, ErrorReport> {
    let size = |name: &str, size: u64, least: u64, most: u64| {
        usize::try_from(size)
            .ok()
            .filter(|_| (least..=most).contains(&size))
            .ok_or_else(|| ErrorReport::user(format!("--{name} takes {least} to {most} bytes, and this is {size}")))
    };
    let workloads: Vec<_> = args.workloads.iter().filter_map(|name| Workload::from_name(name)).collect();
    Ok(LoadOptions {
        in_flight: args.in_flight.into(),
        connections: args.connections.into(),
        duration: Duration::from_secs(args.seconds),
        requests: args.requests.unwrap_or(u64::MAX),
        small: size("small", args.small, 16, 1 << 20)?,
        batch: size("batch", args.batch, 16, 3 << 20)?,
        large: size("large", args.large, 1 << 20, 512 << 20)?,
        digests: args.digests.into(),
        workloads: if workloads.is_empty() { Workload::ALL.to_vec() } else { workloads },
        machine: args.machine.clone(),
    })
}
