//! Reads a build directory with its cache, and says how long each step takes: `--example again -- BUILD_DIR [TARGET]`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use buildnet_bitbake::Result;
use buildnet_bitbake::config::Options;
use buildnet_bitbake::persist::CacheOptions;
use buildnet_bitbake::workbench::{Plan, Wanted, Workbench, plan};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((build_dir, targets)) = arguments.split_first() else {
        eprintln!("usage: again BUILD_DIR [TARGET …]");
        return ExitCode::from(2);
    };
    match run(build_dir.into(), targets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(build_dir: PathBuf, targets: &[String]) -> Result<()> {
    let (mut start, mut used) = (Instant::now(), cpu());
    let mut step = |what: &str| {
        let now = cpu();
        let wall = start.elapsed().as_secs_f64() * 1e3;
        eprintln!("{what:<24} {wall:>8.1} ms, {:>8.1} ms of processors", now - used);
        (start, used) = (Instant::now(), now);
    };
    let cache = CacheOptions { directory: build_dir.join(".buildnet/bitbake"), program: "example".to_owned() };
    let options = Options {
        build_dir,
        environment: std::env::vars().collect(),
        python: "python3".into(),
        python_path: Vec::new(),
        temporary: std::env::temp_dir(),
        history: false,
        time_limit: Duration::from_mins(1),
    };
    let bench = Workbench::open_with_cache(&options, 2, &cache)?;
    bench.findings.iter().for_each(|finding| eprintln!("{finding}"));
    step("configuration and cache");
    let reading = bench.read(&Wanted { recipes: None, sign: true, rows: targets.is_empty() });
    step("recipes");
    reading.findings.iter().for_each(|finding| eprintln!("{finding}"));
    eprintln!("{} recipes: {} parsed, {} cached", reading.files, reading.parsed, reading.cached());
    if !targets.is_empty() {
        let mut planned = plan(&bench, reading.recipes, &Plan { targets, ..Plan::default() })?;
        step("graph");
        eprintln!("{} hashes", planned.hashes()?.tasks.len());
        step("hashes");
    }
    Ok(())
}

/// Milliseconds of processors' time of this process and those it waited for.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}
