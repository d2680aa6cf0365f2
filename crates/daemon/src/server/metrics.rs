//! Counters in the Prometheus text format (version 0.0.4).

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use buildnet_event::{BuildOutcome, Bus, Event, EventKind, TaskOutcome, Tier};
use buildnet_reapi::CacheService;
use buildnet_reapi::metrics::Traffic;
use parking_lot::Mutex;

/// Upper bounds of the duration histogram's buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// What the daemon counts, from the events that it publishes.
#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
    /// The caches of other build tools, once they are served.
    caches: OnceLock<CacheService>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    builds: [u64; 4],
    /// By tier, cheapest first; then failed, skipped, cancelled.
    tasks: [u64; 7],
    started: u64,
    retries: u64,
    saved_us: u64,
    missed: u64,
    build_seconds: Histogram,
    task_seconds: Histogram,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// Observations in each bucket alone, the last one without bound.
    buckets: [u64; BUCKETS.len() + 1],
    sum_us: u64,
}

/// Facts that are measured when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Builds in flight.
    pub builds_in_flight: usize,
    /// Directories watched through inotify.
    pub watched_directories: usize,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// The cache: entries and bytes.
    pub cache: Option<CacheGauges>,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheGauges {
    /// Number of blobs.
    pub blobs: u64,
    /// Their size on disk in bytes.
    pub bytes: u64,
    /// Bytes read from it by this process.
    pub read_bytes: u64,
    /// Bytes stored in it by this process.
    pub written_bytes: u64,
}

impl Metrics {
    /// Counts everything that is published, until the stream is closed.
    pub async fn follow(self: Arc<Self>, bus: Bus) {
        let mut events = bus.subscribe();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.observe(&event),
                Err(lagged) => self.counts.lock().missed += lagged.missed,
            }
        }
    }

    /// Shows the counters of the cache protocols, too.
    pub fn serve_caches(&self, service: CacheService) {
        // Served once in a process.
        let _ = self.caches.set(service);
    }

    /// What clients of the cache protocols asked for; none while they are not served.
    pub fn traffic(&self) -> Option<Traffic> {
        self.caches.get().map(|caches| caches.metrics().traffic())
    }

    /// Counts one event.
    pub fn observe(&self, event: &Event) {
        let mut counts = self.counts.lock();
        match &event.kind {
            EventKind::BuildFinished { outcome, duration_us, saved_us, .. } => {
                counts.builds[outcome_index(*outcome)] += 1;
                counts.saved_us += saved_us;
                counts.build_seconds.observe(*duration_us);
            }
            EventKind::TaskExecuting { .. } => counts.started += 1,
            EventKind::TaskRetry { .. } => counts.retries += 1,
            EventKind::TaskFinished(task) => {
                let index = match (task.outcome, task.tier) {
                    (TaskOutcome::Success, Some(tier)) => tier_index(tier),
                    (TaskOutcome::Success, None) => tier_index(Tier::Full),
                    (TaskOutcome::Failed, _) => 4,
                    (TaskOutcome::Skipped, _) => 5,
                    (TaskOutcome::Cancelled, _) => 6,
                };
                counts.tasks[index] += 1;
                if index == tier_index(Tier::Incremental) || index == tier_index(Tier::Full) {
                    counts.task_seconds.observe(task.execution_us);
                }
            }
            EventKind::TasksUnchanged { tasks } => counts.tasks[tier_index(Tier::Instant)] += tasks.len() as u64,
            EventKind::BuildStarted { .. }
            | EventKind::TaskStarted { .. }
            | EventKind::TaskOutput { .. }
            | EventKind::Notice { .. } => {}
        }
    }

    /// The page that Prometheus scrapes.
    pub fn render(&self, gauges: &Gauges) -> String {
        let counts = self.counts.lock().clone();
        let mut page = String::new();
        // Writing to a string never fails.
        let _ = counts.write(gauges, &mut page);
        if let Some(caches) = self.caches.get() {
            page.push_str(&caches.metrics().render());
            page.push_str(&caches.backing().map(|backing| backing.stats().render()).unwrap_or_default());
        }
        page
    }
}

impl Counts {
    fn write(&self, gauges: &Gauges, out: &mut String) -> fmt::Result {
        head(out, "buildnet_builds_total", "counter", "Builds that ended, by outcome.")?;
        for (name, count) in ["success", "failed", "cancelled", "error"].iter().zip(self.builds) {
            writeln!(out, "buildnet_builds_total{{outcome=\"{name}\"}} {count}")?;
        }
        head(out, "buildnet_tasks_total", "counter", "Tasks that ended, by tier or by what kept them from one.")?;
        let names = ["instant", "cached", "incremental", "full", "failed", "skipped", "cancelled"];
        for (name, count) in names.iter().zip(self.tasks) {
            writeln!(out, "buildnet_tasks_total{{tier=\"{name}\"}} {count}")?;
        }
        let hits = self.tasks[tier_index(Tier::Instant)] + self.tasks[tier_index(Tier::Cached)];
        head(out, "buildnet_cache_hits_total", "counter", "Tasks that ran no command, since their result was there.")?;
        writeln!(out, "buildnet_cache_hits_total {hits}")?;
        head(out, "buildnet_cache_misses_total", "counter", "Commands that ran, since their result was not there.")?;
        writeln!(out, "buildnet_cache_misses_total {}", self.started.saturating_sub(self.retries))?;
        head(out, "buildnet_retries_total", "counter", "Commands started again after the environment failed.")?;
        writeln!(out, "buildnet_retries_total {}", self.retries)?;
        head(out, "buildnet_saved_seconds_total", "counter", "Execution time that caches saved.")?;
        writeln!(out, "buildnet_saved_seconds_total {}", seconds(self.saved_us))?;
        head(out, "buildnet_events_missed_total", "counter", "Events that these counters missed.")?;
        writeln!(out, "buildnet_events_missed_total {}", self.missed)?;
        self.build_seconds.write(out, "buildnet_build_duration_seconds", "Wall time of builds.")?;
        self.task_seconds.write(out, "buildnet_task_duration_seconds", "Wall time of commands that ran.")?;
        gauges.write(out)
    }
}

impl Gauges {
    fn write(&self, out: &mut String) -> fmt::Result {
        head(out, "buildnet_builds_in_flight", "gauge", "Builds that run or wait for their turn.")?;
        writeln!(out, "buildnet_builds_in_flight {}", self.builds_in_flight)?;
        head(out, "buildnet_watched_directories", "gauge", "Directories followed through inotify.")?;
        writeln!(out, "buildnet_watched_directories {}", self.watched_directories)?;
        if let Some(cache) = &self.cache {
            head(out, "buildnet_cache_blobs", "gauge", "Blobs in the cache.")?;
            writeln!(out, "buildnet_cache_blobs {}", cache.blobs)?;
            head(out, "buildnet_cache_bytes", "gauge", "Bytes of the cache on disk.")?;
            writeln!(out, "buildnet_cache_bytes {}", cache.bytes)?;
            head(out, "buildnet_cache_read_bytes_total", "counter", "Bytes read from the cache.")?;
            writeln!(out, "buildnet_cache_read_bytes_total {}", cache.read_bytes)?;
            head(out, "buildnet_cache_written_bytes_total", "counter", "Bytes stored in the cache.")?;
            writeln!(out, "buildnet_cache_written_bytes_total {}", cache.written_bytes)?;
        }
        if let Some(bytes) = resident_bytes() {
            head(out, "process_resident_memory_bytes", "gauge", "Resident memory of the daemon.")?;
            writeln!(out, "process_resident_memory_bytes {bytes}")?;
        }
        head(out, "buildnet_uptime_seconds", "gauge", "Time since the daemon started.")?;
        writeln!(out, "buildnet_uptime_seconds {:.3}", self.uptime_s)
    }
}

impl Histogram {
    fn observe(&mut self, micros: u64) {
        let value = seconds(micros);
        let bucket = BUCKETS.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket] += 1;
        self.sum_us += micros;
    }

    fn write(&self, out: &mut String, name: &str, help: &str) -> fmt::Result {
        head(out, name, "histogram", help)?;
        let mut total = 0;
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            total += count;
            writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {total}")?;
        }
        total += self.buckets[BUCKETS.len()];
        writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}")?;
        writeln!(out, "{name}_sum {}", seconds(self.sum_us))?;
        writeln!(out, "{name}_count {total}")
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

const fn tier_index(tier: Tier) -> usize {
    match tier {
        Tier::Instant => 0,
        Tier::Cached => 1,
        Tier::Incremental => 2,
        Tier::Full => 3,
    }
}

const fn outcome_index(outcome: BuildOutcome) -> usize {
    match outcome {
        BuildOutcome::Success => 0,
        BuildOutcome::Failed => 1,
        BuildOutcome::Cancelled => 2,
        BuildOutcome::Error => 3,
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years of microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Resident memory of this process, from `/proc/self/statm` (second column, in pages).
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use buildnet_event::{TaskName, TaskSummary, TierCounts};

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { seq: 1, time_ms: 0, build: None, kind }
    }

    fn finished(tier: Tier, execution_us: u64) -> Event {
        let summary = TaskSummary::new(TaskName::new("a", "build"), Vec::new());
        event(EventKind::TaskFinished(Box::new(TaskSummary {
            tier: Some(tier),
            duration_us: execution_us,
            execution_us,
            ..summary
        })))
    }

    #[test]
    fn a_page_of_counters() {
        let metrics = Metrics::default();
        metrics.observe(&finished(Tier::Instant, 7_000_000));
        metrics.observe(&event(EventKind::TaskExecuting { task: TaskName::new("b", "build"), attempt: 1 }));
        metrics.observe(&finished(Tier::Full, 70_000));
        metrics.observe(&event(EventKind::BuildFinished {
            outcome: BuildOutcome::Success,
            duration_us: 1_500_000,
            counts: TierCounts::default(),
            saved_us: 7_000_000,
        }));
        let page = metrics.render(&Gauges { uptime_s: 2.0, ..Gauges::default() });
        let page: String = page.lines().filter(|l| !l.contains("resident")).flat_map(|l| [l, "\n"]).collect();
        insta::assert_snapshot!(page);
    }
}
