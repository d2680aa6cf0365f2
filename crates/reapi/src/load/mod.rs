//! A load generator for any REAPI cache: `buildnet bench cache`.
//!
//! Requests in flight are spread over a few connections; every workload runs for a fixed time or number of requests.
//! Content is new for each run (a random seed), so that nothing written is there already, and what is read was written by
//! the run itself.
//!
//! Everything that is read is verified on the clock: compared, byte for byte, with what was written, which is stricter than
//! a digest and costs far less. Answers of the other calls are checked as well: which blobs are missing, whether each was
//! stored. A wrong answer ends the run. The client does little else, since on one machine what it takes the server lacks:
//! small blobs share all but their end, large ones are made before the clock starts, and no large content is copied.

mod content;
mod find;
mod link;
mod machine;
mod report;
mod run;
mod wire;
mod workloads;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use self::machine::{Machine, Nearness};
pub use self::report::{LoadReport, Measurement};
pub use self::workloads::Workload;
use crate::client::{RemoteCache, RemoteError, Target};

/// What to do, and how hard.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Requests in flight at once, over all connections.
    pub in_flight: usize,
    /// Connections.
    pub connections: usize,
    /// Longest time of each workload.
    pub duration: Duration,
    /// Most requests of each workload; whatever comes first ends it.
    pub requests: u64,
    /// Size of small blobs in bytes.
    pub small: usize,
    /// Bytes of blobs in one small batch.
    pub batch: usize,
    /// Size of large blobs in bytes.
    pub large: usize,
    /// Digests in one FindMissingBlobs.
    pub digests: usize,
    /// What to run, in this order.
    pub workloads: Vec<Workload>,
    /// Also measures what this machine allows, its disk by files in this directory.
    pub machine: Option<PathBuf>,
}

impl Default for LoadOptions {
    /// 32 requests in flight over 4 connections, 5 seconds each; 4 KiB blobs in batches of 60 KB; streams of 64 MiB.
    fn default() -> Self {
        Self {
            in_flight: 32,
            connections: 4,
            duration: Duration::from_secs(5),
            requests: u64::MAX,
            small: 4 << 10,
            batch: 60_000,
            large: 64 << 20,
            digests: 1000,
            workloads: Workload::ALL.to_vec(),
            machine: None,
        }
    }
}

/// Runs all workloads against `grpc://host:port[/instance]`. `progress` is called with each measurement when it is there.
pub async fn run(
    target: &str,
    token: Option<&str>,
    options: &LoadOptions,
    mut progress: impl FnMut(&Measurement),
) -> Result<LoadReport, RemoteError> {
    let Target { secure, authority, .. } = target.parse()?;
    let cache = RemoteCache::connect(target, token).await?;
    let mut links = Vec::new();
    for _ in 0..options.connections.max(1) {
        let link = link::Link::open(&authority, secure, token).await;
        links.push(link.map_err(|status| cache.failed("connect to", status))?);
    }
    let run = run::Run::new(options.clone(), cache, links);
    let machine = options.machine.as_deref().map(|directory| Machine::measure(options, directory)).transpose()?;
    let mut measurements = Vec::new();
    for workload in &options.workloads {
        let mut measurement = measure(&run, *workload).await?;
        if let Some(machine) = &machine {
            measurement.nearness = Some(machine.near(options, &measurement).await?);
        }
        progress(&measurement);
        measurements.push(measurement);
    }
    Ok(LoadReport {
        target: target.to_owned(),
        in_flight: options.in_flight,
        connections: options.connections,
        machine,
        measurements,
    })
}

/// Runs one workload: `in_flight` tasks, each with one request at a time.
async fn measure(run: &Arc<run::Run>, workload: Workload) -> Result<Measurement, RemoteError> {
    run.prepare(workload).await?;
    let limit = run.limit(workload);
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let deadline = started + run.options().duration;
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..run.lanes(workload) {
        let (run, next) = (Arc::clone(run), Arc::clone(&next));
        let runtime = run.link(lane).runtime().clone();
        let lane = async move {
            let mut latencies = Vec::new();
            let mut all = run::Done::default();
            while Instant::now() < deadline {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= limit {
                    break;
                }
                // What the client prepares is not the server's time.
                let request = run.request(workload, number);
                let sent = Instant::now();
                let done = run.send(lane, request).await?;
                latencies.push(sent.elapsed());
                all.add(done);
            }
            Ok::<_, RemoteError>((latencies, all))
        };
        tasks.spawn_on(lane, &runtime);
    }
    let (mut latencies, mut all) = (Vec::new(), run::Done::default());
    while let Some(task) = tasks.join_next().await {
        // A task neither panics nor is cancelled while the set lives.
        let Ok(done) = task else { continue };
        let (lane_latencies, done) = done?;
        latencies.extend(lane_latencies);
        all.add(done);
    }
    let elapsed = started.elapsed();
    run.finish(workload, next.load(Ordering::Relaxed).min(limit));
    Ok(Measurement::new(workload, latencies, all, elapsed))
}
