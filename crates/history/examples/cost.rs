//! What recording costs: `cargo run --release -p buildnet-history --example cost [DIRECTORY]`.
//!
//! Prints the median time, over 30 builds, that a build of 1,000 tasks spends in the history: each with a recorder of a fresh
//! process (the database is opened), and with one that is kept open, as a daemon does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buildnet_event::{BuildId, BuildOutcome, Event, EventKind, TaskName, TaskSummary, TaskUsage, Tier, TierCounts};
use buildnet_history::{HistoryStore, Recorder, Retention, SqliteHistory};

const TASKS: u64 = 1000;
const BUILDS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let path = directory.join(format!("buildnet-history-cost-{}", std::process::id())).join("history.db");
    let result = measure(&path);
    if let Some(parent) = path.parent() {
        std::fs::remove_dir_all(parent)?;
    }
    result
}

fn measure(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    drop(SqliteHistory::open(path)?);
    println!("create: {:?}", start.elapsed());
    for (name, tier) in [("instant", Tier::Instant), ("full", Tier::Full)] {
        let mut fresh = Vec::new();
        let mut kept = Vec::new();
        let open: Arc<dyn HistoryStore> = Arc::new(SqliteHistory::open(path)?);
        let mut recorder = Recorder::new(Arc::clone(&open), Retention::default());
        for _ in 0..BUILDS {
            let build = events(tier);
            let start = Instant::now();
            for event in &build {
                recorder.record(event)?;
            }
            kept.push(start.elapsed());
        }
        drop((recorder, open));
        for _ in 0..BUILDS {
            let build = events(tier);
            let start = Instant::now();
            let mut recorder = Recorder::new(Arc::new(SqliteHistory::open(path)?), Retention::default());
            for event in &build {
                recorder.record(event)?;
            }
            drop(recorder);
            fresh.push(start.elapsed());
        }
        println!("{TASKS} {name} tasks: kept open {}, opened anew {}", figures(&mut kept), figures(&mut fresh));
    }
    let history = SqliteHistory::open(path)?;
    let start = Instant::now();
    let expected = history.expectations()?.len();
    println!("expectations of {expected} tasks: {:?}", start.elapsed());
    println!("database: {} KiB for {} builds", std::fs::metadata(path)?.len() / 1024, 4 * BUILDS);
    Ok(())
}

fn figures(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("{:?} (worst {:?})", times[times.len() / 2], times[times.len() - 1])
}

fn events(tier: Tier) -> Vec<Event> {
    let id = BuildId::fresh();
    let mut kinds =
        vec![EventKind::BuildStarted { workspace: "/w".to_owned(), command: "build".to_owned(), tasks: TASKS }];
    for task in 0..TASKS {
        let name = |number: u64| TaskName::new(format!("@scope/package-{number}"), "build");
        kinds.push(EventKind::TaskFinished(Box::new(TaskSummary {
            tier: Some(tier),
            duration_us: 100_000 + task,
            execution_us: 100_000,
            key: Some(format!("blake3:{task:064x}/142")),
            usage: TaskUsage { cpu_us: 90_000, peak_memory: 30 << 20 },
            attempts: 1,
            ..TaskSummary::new(name(task), (task.saturating_sub(3)..task).map(name).collect())
        })));
    }
    let counts = TierCounts { instant: TASKS, ..TierCounts::default() };
    kinds.push(EventKind::BuildFinished { outcome: BuildOutcome::Success, duration_us: 9_000, counts, saved_us: 1 });
    let kinds = kinds.into_iter().zip(1..);
    kinds.map(|(kind, seq)| Event { seq, time_ms: 1_767_323_045_000, build: Some(id), kind }).collect()
}
