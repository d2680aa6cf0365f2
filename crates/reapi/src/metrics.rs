//! What is counted, by protocol, operation, instance and client.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::source::Invocations;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 10] = [0.000_25, 0.001, 0.002_5, 0.01, 0.025, 0.1, 0.25, 1.0, 10.0, 60.0];
/// Most rows that are kept apart; later ones are counted as client and instance `other`, so that clients cannot fill
/// the memory with names.
const MAX_ROWS: usize = 2048;
/// Lookups before a client can be said to hit usually.
const WARM_UP: u64 = 100;

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

/// A client that used to hit and does no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The instance.
    pub instance: String,
    /// The client's tool.
    pub client: String,
    /// Share of its lookups that used to hit, in percent.
    pub before: u8,
    /// Share of its recent lookups that hit, in percent.
    pub now: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    protocol: &'static str,
    operation: &'static str,
    instance: Arc<str>,
    client: Arc<str>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    outcomes: [u64; 5],
    received: u64,
    sent: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

#[derive(Clone, Debug, Default)]
struct Trend {
    lookups: u64,
    /// Exponential means of hits over about 500 and 30 lookups.
    long: f64,
    short: f64,
    alarmed: bool,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Key, Row>,
    trends: HashMap<(Arc<str>, Arc<str>), Trend>,
    regressions: Vec<Regression>,
}

/// The counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    table: Mutex<Table>,
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
        let mut key = Key {
            protocol: sample.protocol,
            operation: sample.operation,
            instance: sample.instance.into(),
            client: sample.client.into(),
        };
        if table.rows.len() >= MAX_ROWS && !table.rows.contains_key(&key) {
            key.instance = "other".into();
            key.client = "other".into();
        }
        let trend_key = (key.instance.clone(), key.client.clone());
        let row = table.rows.entry(key).or_default();
        row.outcomes[sample.outcome as usize] += 1;
        row.received += sample.received;
        row.sent += sample.sent;
        let seconds = sample.latency.as_secs_f64();
        row.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            row.buckets[bucket] += 1;
        }
        let hit = match sample.outcome {
            Outcome::Hit => 1.0,
            Outcome::Miss => 0.0,
            _ => return,
        };
        let trend = table.trends.entry(trend_key.clone()).or_default();
        if let Some((before, now)) = trend.follow(hit) {
            let regression =
                Regression { instance: trend_key.0.to_string(), client: trend_key.1.to_string(), before, now };
            tracing::warn!(
                client = regression.client,
                instance = regression.instance,
                "hits fell from {before} % to {now} % of the lookups"
            );
            table.regressions.push(regression);
        }
    }

    /// The clients that stopped hitting since this was last asked.
    pub fn take_regressions(&self) -> Vec<Regression> {
        std::mem::take(&mut self.table.lock().regressions)
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

impl Trend {
    /// Takes one lookup; the shares before and now when the client has just stopped hitting.
    fn follow(&mut self, hit: f64) -> Option<(u8, u8)> {
        self.lookups += 1;
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let mean = |mean: f64, window: f64| mean + (hit - mean) / window.min(self.lookups as f64);
        (self.long, self.short) = (mean(self.long, 500.0), mean(self.short, 30.0));
        if self.alarmed {
            self.alarmed = self.short < self.long / 2.0;
            return None;
        }
        if self.lookups < WARM_UP || self.long < 0.5 || self.short > self.long / 5.0 {
            return None;
        }
        self.alarmed = true;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
        let percent = |share: f64| (share * 100.0).round() as u8;
        Some((percent(self.long), percent(self.short)))
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
    fn names_of_clients_are_bounded() {
        let metrics = Metrics::default();
        for number in 0..MAX_ROWS + 100 {
            metrics.record(&Sample { client: &number.to_string(), ..sample(Outcome::Done) });
        }
        assert_eq!(metrics.table.lock().rows.len(), MAX_ROWS + 1);
        assert_eq!(metrics.totals().requests, MAX_ROWS as u64 + 100);
    }
}
