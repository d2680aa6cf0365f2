//! How long the incremental graph takes for 10,000 keys over 10,000 leaves:
//! `cargo run --release -p buildnet-engine --example graph_speed`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buildnet_engine::graph::{ComputeError, Context, Graph, Key, Registry, Request, Services};
use serde::{Deserialize, Serialize};

const TASKS: u32 = 10_000;
const ROOTS: u32 = 1_000;

/// The input files of a task: twenty, of some sixty bytes each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Sources(String);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Task(String);

macro_rules! display {
    ($($key:ident),+) => {
        $(impl fmt::Display for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        })+
    };
}

display!(Sources, Task);

impl Key for Sources {
    type Value = Arc<Vec<(String, u64, [u8; 32])>>;
    const KIND: &'static str = "sources";
    const LEAF: bool = true;

    async fn compute(&self, _ctx: &Context) -> Result<Self::Value, ComputeError> {
        Ok(Arc::new((0..20).map(|file| (format!("{}/src/file{file}.c", self.0), file, [7; 32])).collect()))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

fn task(number: u32) -> Task {
    Task(format!("package{number}#build"))
}

impl Key for Task {
    type Value = Arc<Vec<u8>>;
    const KIND: &'static str = "task";

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        let sources = ctx.get(&Sources(self.0.clone())).await?;
        let number: u32 = self.0.trim_start_matches("package").trim_end_matches("#build").parse().unwrap_or(0);
        let dependencies: Vec<Self> = (1..=5).filter(|n| number >= 100 * n).map(|n| task(number - 100 * n)).collect();
        let mut value = vec![u8::try_from(sources.len()).unwrap_or(0); 200];
        for dependency in ctx.get_all(&dependencies).await {
            value[0] = value[0].wrapping_add(dependency?[0]);
        }
        Ok(Arc::new(value))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

fn report(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let (least, middle) = (times[0], times[times.len() / 2]);
    println!("{what:<56} least {least:>10.2?}  median {middle:>10.2?}");
}

fn timed<R>(times: &mut Vec<Duration>, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed());
    result
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let registry = Registry::new("speed").with::<Sources>().with::<Task>();
    let all: Vec<Task> = (0..TASKS).map(task).collect();
    let roots: Vec<Task> = (TASKS - ROOTS..TASKS).map(task).collect();
    let request = Request::default();

    let mut times = Vec::new();
    let graph = Graph::new(Services::new());
    timed(&mut times, || runtime.block_on(graph.evaluate(&all, &request)));
    report("compute 10,000 tasks and 10,000 leaves", &times);

    let path = std::env::temp_dir().join(format!("graph_speed-{}", std::process::id()));
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..5 {
        bytes = timed(&mut times, || graph.save(&path, &registry))?;
    }
    report(&format!("save, {bytes} bytes"), &times);
    drop(graph);

    let (mut loads, mut firsts, mut cleans, mut changes, mut leaves) = (vec![], vec![], vec![], vec![], vec![]);
    let before = resident_kib();
    let mut kept = Vec::new();
    for _ in 0..9 {
        let (graph, discarded) = timed(&mut loads, || Graph::load(&path, &registry, Services::new()));
        assert_eq!(discarded, None);
        timed(&mut firsts, || runtime.block_on(graph.evaluate(&roots, &request)));
        for _ in 0..5 {
            let evaluation = timed(&mut cleans, || runtime.block_on(graph.evaluate(&roots, &request)));
            assert_eq!(evaluation.statistics.reused, u64::from(ROOTS));
        }
        timed(&mut leaves, || {
            let files: usize = graph.leaves::<Sources>().iter().filter_map(|leaf| Some(leaf.value()?.len())).sum();
            assert_eq!(files, 20 * TASKS as usize);
        });
        let mut transaction = graph.begin();
        transaction.invalidate(&Sources(task(TASKS / 2).0));
        transaction.commit();
        timed(&mut changes, || runtime.block_on(graph.evaluate(&all, &request)));
        kept.push(graph);
    }
    report("load", &loads);
    report("1,000 clean roots, first time after loading", &firsts);
    report("1,000 clean roots", &cleans);
    report("all leaves decoded on one thread (200,000 files)", &leaves);
    report("a leaf read again and found the same, all tasks wanted", &changes);
    let each = (resident_kib() - before) * 1024 / (kept.len() as u64 * u64::from(2 * TASKS));
    println!(
        "memory per node, with key and encoded value: {each} bytes; of the file: {}",
        bytes / u64::from(2 * TASKS)
    );
    std::fs::remove_file(&path)?;
    Ok(())
}
