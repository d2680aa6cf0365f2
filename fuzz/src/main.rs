//! The driver: runs a target until it fails or the time is over.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use buildnet_fuzz::campaign::{Bound, attempt, run};
use buildnet_fuzz::{TARGETS, target};
use clap::Parser;

/// Feeds a parser with mutated inputs and reports the first that it fails on.
#[derive(Debug, Parser)]
struct Arguments {
    /// The target; all of them are listed without one.
    target: Option<String>,
    /// How long to run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many inputs to run at most.
    #[arg(long, default_value_t = u64::MAX)]
    runs: u64,
    /// What decides the inputs; the same seed gives the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs this file once, in place of a campaign.
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(target) = arguments.target.as_deref().and_then(target) else {
        println!("Targets:");
        for target in TARGETS {
            println!("  {}", target.name);
        }
        return if arguments.target.is_none() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    };
    if let Some(path) = &arguments.input {
        let input = match std::fs::read(path) {
            Ok(input) => input,
            Err(error) => {
                eprintln!("cannot read {}: {error}", path.display());
                return ExitCode::from(2);
            }
        };
        let said = attempt(target, &input);
        println!("{}", said.as_deref().unwrap_or("fine"));
        return if said.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // An overflowing stack or an exhausted memory ends the process: then the input is here.
    let last = std::env::temp_dir().join(format!("buildnet-fuzz-{}.last", target.name));
    let bound = Bound { runs: arguments.runs, time: Duration::from_secs(arguments.seconds) };
    let mut keep = match File::create(&last) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("cannot keep inputs in {}: {error}", last.display());
            return ExitCode::from(3);
        }
    };
    let report = run(target, arguments.seed, bound, |input| {
        // A full disk costs the input of a crash, and no more.
        let _ = keep.rewind().and_then(|()| keep.write_all(input)).and_then(|()| keep.set_len(input.len() as u64));
    });
    println!("{}: {} inputs, the slowest took {:?}", target.name, report.runs, report.slowest);
    let Some(failure) = report.failure else { return ExitCode::SUCCESS };
    println!("failed with seed {} after {} inputs:\n{}", arguments.seed, report.runs, failure.message);
    println!("smallest input, {} bytes: {}", failure.smallest.len(), hex::encode(&failure.smallest));
    println!("as text: {}", String::from_utf8_lossy(&failure.smallest).escape_debug());
    ExitCode::FAILURE
}
