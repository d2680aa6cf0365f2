//! What is counted, by protocol, operation, instance and client.

mod latency;
mod traffic;
mod trend;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::latency::Latencies;
pub use self::traffic::{Share, Traffic};
pub use self::trend::Regression;
use self::trend::Trends;

use crate::source::Invocations;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 10] = [0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 10.0, 60.0];
/// Most rows that are kept apart; further ones are counted as client and instance `other`, so that clients cannot fill
/// the memory, or whoever reads the counters, with names.
const MAX_ROWS: usize = 2048;
/// When the rows are full, those that were idle for this long make room: they are summed as `other`.
const IDLE: Duration = Duration::from_hours(1);
/// How often to look for idle rows at most.
const SWEEP: Duration = Duration::from_mins(1);

/// Client and instance of the rows that sum what is not kept apart.
const OTHER: &str = "other";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A lookup that found what it asked for.
    Hit,
    /// A lookup that did not.
    Miss,
    /// Something was stored.
    Stored,
    /// Done; neither a lookup nor a store.
    Done,
    /// Refused or failed.
    Failed,
}

/// One request, counted.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// `grpc`, `gradle`, …
    pub protocol: &'static str,
    /// `get_action_result`, …
    pub operation: &'static str,
    /// The instance; empty is the default one.
    pub instance: &'a str,
    /// The client's tool, as it calls itself.
    pub client: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// From the request's arrival to the answer (its start, for streams).
    pub latency: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    protocol: &'static str,
    operation: &'static str,
    instance: Arc<str>,
    client: Arc<str>,
}

/// A key that is only looked up. Hashes as [`Key`] does: the same fields in the same order.
#[derive(Hash)]
struct KeyRef<'a> {
    protocol: &'static str,
    operation: &'static str,
    instance: &'a str,
    client: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.protocol == key.protocol
            && self.operation == key.operation
            && *self.instance == *key.instance
            && *self.client == *key.client
    }
}

#[derive(Clone, Debug)]
struct Row {
    outcomes: [u64; 5],
    received: u64,
    sent: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
    latencies: Latencies,
    last: Instant,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Key, Row>,
    trends: Trends,
    swept: Option<Instant>,
}

/// The counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    table: Mutex<Table>,
    regressed: Notify,
    invocations: Invocations,
}

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Hit, "hit"),
    (Outcome::Miss, "miss"),
    (Outcome::Stored, "stored"),
    (Outcome::Done, "done"),
    (Outcome::Failed, "failed"),
];

/// Totals over all clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests.
    pub requests: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Lookups that missed.
    pub misses: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

impl Metrics {
    /// What each run of a build tool asked for.
    pub fn invocations(&self) -> &Invocations {
        &self.invocations
    }

    /// Counts a request.
    pub fn record(&self, sample: &Sample<'_>) {
        let mut table = self.table.lock();
        table.row(sample).count(sample);
        let regressed = table.trends.follow(sample);
        drop(table);
        if regressed {
            self.regressed.notify_one();
        }
    }

    /// The clients that stopped hitting since this was last asked.
    pub fn take_regressions(&self) -> Vec<Regression> {
        std::mem::take(&mut self.table.lock().trends.regressions)
    }

    /// Waits until clients have stopped hitting, and says which. For one reader.
    pub async fn regressions(&self) -> Vec<Regression> {
        loop {
            let regressions = self.take_regressions();
            if !regressions.is_empty() {
                return regressions;
            }
            self.regressed.notified().await;
        }
    }

    /// What clients asked for and got, by protocol, by client and by instance.
    pub fn traffic(&self) -> Traffic {
        traffic::summarize(self.table.lock().rows.iter())
    }

    /// Totals over all clients.
    pub fn totals(&self) -> Totals {
        let table = self.table.lock();
        table.rows.values().fold(Totals::default(), |totals, row| Totals {
            requests: totals.requests + row.outcomes.iter().sum::<u64>(),
            hits: totals.hits + row.outcomes[Outcome::Hit as usize],
            misses: totals.misses + row.outcomes[Outcome::Miss as usize],
            received: totals.received + row.received,
            sent: totals.sent + row.sent,
        })
    }

    /// All counters in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut rows: Vec<(Key, Row)> =
            self.table.lock().rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        rows.sort_by(|left, right| left.0.cmp(&right.0));
        let mut text = String::new();
        let name = "buildnet_cache_requests_total";
        let _ = writeln!(text, "# HELP {name} Requests to the cache by outcome.\n# TYPE {name} counter");
        for (key, row) in &rows {
            for (outcome, label) in OUTCOMES {
                let count = row.outcomes[outcome as usize];
                if count > 0 {
                    let _ = writeln!(text, "{name}{{{},outcome=\"{label}\"}} {count}", key.labels());
                }
            }
        }
        let name = "buildnet_cache_bytes_total";
        let _ = writeln!(text, "# HELP {name} Bytes of content by direction.\n# TYPE {name} counter");
        for (key, row) in &rows {
            for (direction, bytes) in [("received", row.received), ("sent", row.sent)] {
                if bytes > 0 {
                    let _ = writeln!(text, "{name}{{{},direction=\"{direction}\"}} {bytes}", key.labels());
                }
            }
        }
        let name = "buildnet_cache_request_seconds";
        let _ = writeln!(text, "# HELP {name} Time to answer.\n# TYPE {name} histogram");
        for (key, row) in &rows {
            let labels = key.labels();
            let mut total = 0;
            for (bound, count) in BUCKETS.iter().zip(row.buckets) {
                total += count;
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
            }
            let count: u64 = row.outcomes.iter().sum();
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}", row.seconds);
            let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
        }
        text
    }
}

impl Key {
    fn labels(&self) -> String {
        format!(
            "protocol=\"{}\",operation=\"{}\",instance=\"{}\",client=\"{}\"",
            self.protocol,
            self.operation,
            escape(&self.instance),
            escape(&self.client)
        )
    }
}

impl Table {
    /// The row of a request, made when there is none and room for one.
    fn row(&mut self, sample: &Sample<'_>) -> &mut Row {
        let Sample { protocol, operation, instance, client, .. } = *sample;
        let wanted = KeyRef { protocol, operation, instance, client };
        if !self.rows.contains_key(&wanted) && self.rows.len() >= MAX_ROWS {
            self.sweep();
        }
        let full = self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&wanted);
        let (instance, client) = if full { (OTHER, OTHER) } else { (instance, client) };
        self.entry(&KeyRef { protocol, operation, instance, client })
    }

    /// Makes a key only where there is none yet: requests are counted without taking memory.
    fn entry(&mut self, key: &KeyRef<'_>) -> &mut Row {
        if !self.rows.contains_key(key) {
            self.rows.insert(key.to_key(), Row::new());
        }
        self.rows.get_mut(key).expect("inserted above")
    }

    /// Sums rows that were idle for long, but not more often than once in a while.
    fn sweep(&mut self) {
        let now = Instant::now();
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        let idle = self.rows.extract_if(|key, row| &*key.client != OTHER && now.duration_since(row.last) > IDLE);
        for (key, row) in idle.collect::<Vec<_>>() {
            let other = KeyRef { protocol: key.protocol, operation: key.operation, instance: OTHER, client: OTHER };
            self.entry(&other).add(&row);
        }
    }
}

impl KeyRef<'_> {
    fn to_key(&self) -> Key {
        let (instance, client) = (self.instance.into(), self.client.into());
        Key { protocol: self.protocol, operation: self.operation, instance, client }
    }
}

impl Row {
    fn new() -> Self {
        Self {
            outcomes: [0; 5],
            received: 0,
            sent: 0,
            seconds: 0.0,
            buckets: [0; BUCKETS.len()],
            latencies: Latencies::default(),
            last: Instant::now(),
        }
    }

    fn count(&mut self, sample: &Sample<'_>) {
        self.outcomes[sample.outcome as usize] += 1;
        self.received += sample.received;
        self.sent += sample.sent;
        let seconds = sample.latency.as_secs_f64();
        self.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.latencies.record(sample.latency);
        self.last = Instant::now();
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *count += more;
        }
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.received += other.received;
        self.sent += other.sent;
        self.seconds += other.seconds;
        self.latencies.add(&other.latencies);
    }
}

/// Escapes a label's value; other control characters are dropped.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(outcome: Outcome) -> Sample<'static> {
        Sample {
            protocol: "grpc",
            operation: "get_action_result",
            instance: "main",
            client: "ba\"zel\n",
            outcome,
            received: 10,
            sent: 0,
            latency: Duration::from_millis(2),
        }
    }

    #[test]
    fn rendered_for_prometheus() {
        let metrics = Metrics::default();
        metrics.record(&sample(Outcome::Hit));
        metrics.record(&sample(Outcome::Miss));
        insta::assert_snapshot!(metrics.render());
        let totals = Totals { requests: 2, hits: 1, misses: 1, received: 20, sent: 0 };
        assert_eq!(metrics.totals(), totals);
    }

    #[test]
    fn a_client_that_stops_hitting_is_told_once() {
        let metrics = Metrics::default();
        for _ in 0..200 {
            metrics.record(&sample(Outcome::Hit));
        }
        assert_eq!(metrics.take_regressions(), []);
        for _ in 0..200 {
            metrics.record(&sample(Outcome::Miss));
        }
        let regressions = metrics.take_regressions();
        assert_eq!(regressions.len(), 1);
        assert!(regressions[0].before > 60 && regressions[0].now < 20, "{regressions:?}");
        assert_eq!(metrics.take_regressions(), []);
    }

    #[test]
    fn a_regression_wakes_its_reader_and_blobs_do_not_count() {
        let metrics = Metrics::default();
        for _ in 0..200 {
            metrics.record(&sample(Outcome::Hit));
        }
        for _ in 0..200 {
            metrics.record(&Sample { operation: "get_cas", ..sample(Outcome::Miss) });
        }
        assert_eq!(metrics.take_regressions(), []);
        // Each build of a pull request has an instance of its own.
        for number in 0..200 {
            let instance = format!("pr/{number}");
            let outcome = if number < 120 { Outcome::Hit } else { Outcome::Miss };
            metrics.record(&Sample { instance: &instance, ..sample(outcome) });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let regressions = runtime.block_on(metrics.regressions());
        assert_eq!(regressions[0].instance, "pr/*");
    }

    #[test]
    fn traffic_is_summed_three_ways() {
        let metrics = Metrics::default();
        for (protocol, client, outcome) in
            [("grpc", "bazel", Outcome::Hit), ("grpc", "moon", Outcome::Miss), ("gradle", "Gradle", Outcome::Stored)]
        {
            metrics.record(&Sample { protocol, client, ..sample(outcome) });
        }
        let traffic = metrics.traffic();
        assert_eq!((traffic.total.requests, traffic.total.hits, traffic.total.misses), (3, 1, 1));
        assert_eq!(traffic.protocols[0].name, "grpc");
        assert_eq!(traffic.protocols[0].requests, 2);
        assert_eq!(traffic.clients.len(), 3);
        assert_eq!((traffic.instances.len(), traffic.instances[0].stored), (1, 1));
        assert!((2000..2400).contains(&traffic.total.p50_us.unwrap()), "{traffic:?}");
    }

    #[test]
    fn names_of_clients_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..MAX_ROWS + 100 {
            metrics.record(&Sample { client: &number.to_string(), ..sample(Outcome::Done) });
        }
        assert_eq!(metrics.table.lock().rows.len(), MAX_ROWS + 1);
        assert_eq!(metrics.totals().requests, MAX_ROWS as u64 + 100);
    }
}
