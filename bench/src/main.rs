//! Side-by-side benchmarks of BuildNet and its peers: one generated workspace, one run, medians and ratios. And what a cache takes as
//! it grows.

#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

mod golden;
mod measure;
mod peers;
mod scale;
mod scenarios;
mod warm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures BuildNet beside Turborepo, Nx and BitBake.
///
/// Example: cargo run --release -p buildnet-bench -- noop --packages 1000 --peers turbo,nx
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    scenario: Scenario,
    /// Number of packages in the generated workspace.
    #[arg(long, default_value_t = 1000)]
    packages: usize,
    /// Files in each package.
    #[arg(long, default_value_t = 20)]
    files: usize,
    /// Runs of which the median counts.
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// Peers to measure in the same run: turbo, nx. Installed from the npm registry.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<peers::Peer>,
    /// Where the workspace is generated and the peers are installed.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// The program to measure.
    #[arg(long, default_value = "target/release/buildnet")]
    buildnet: PathBuf,
    #[command(flatten)]
    golden: golden::Golden,
    #[command(flatten)]
    scale: scale::Scale,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Nothing changed: the whole process, with and without daemon.
    Noop,
    /// Everything runs: overhead for each task beyond its command.
    Cold,
    /// One source file of a package that few depend on changed.
    Leaf,
    /// Peak resident memory of a cold build and of the daemon.
    Memory,
    /// Recipes, tasks and hashes of openembedded-core, compared with BitBake's; times and memory beside it.
    BitbakeGolden,
    /// The daemon's cache with a million blobs: memory, cost of requests as it grows, and every acknowledged blob after kill -9.
    CacheScale,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let program = arguments
        .buildnet
        .canonicalize()
        .map_err(|error| format!("{}: {error}; build it first: cargo build --release", arguments.buildnet.display()))?;
    std::fs::create_dir_all(&arguments.dir).map_err(|error| error.to_string())?;
    let dir = arguments.dir.canonicalize().map_err(|error| error.to_string())?;
    if arguments.scenario == Scenario::BitbakeGolden {
        measure::noise();
        return golden::run(&arguments.golden, &program, &dir, arguments.runs);
    }
    if arguments.scenario == Scenario::CacheScale {
        measure::noise();
        return scale::run(&arguments.scale, &program, &dir);
    }
    let name = format!("{}x{}", arguments.packages, arguments.files);
    let workspace = workspace::generate(&dir.join(name), arguments.packages, arguments.files, &arguments.peers)?;
    measure::noise();
    let bench = scenarios::Bench { program, workspace, runs: arguments.runs, peers: arguments.peers.clone() };
    match arguments.scenario {
        Scenario::Noop => bench.noop(),
        Scenario::Cold => bench.cold(),
        Scenario::Leaf => bench.leaf(),
        Scenario::Memory => bench.memory(),
        Scenario::BitbakeGolden | Scenario::CacheScale => Ok(()),
    }
}
