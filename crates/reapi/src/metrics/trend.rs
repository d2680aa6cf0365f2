//! Clients that used to hit and do no more.

use std::collections::HashMap;

use super::{Outcome, Sample};

/// Lookups before a client can be said to hit usually.
const WARM_UP: u64 = 100;
/// Most trends that are followed, and most regressions that wait to be taken.
const MAX_TRENDS: usize = 2048;

/// A client that used to hit and does no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The instance; `pr/*` for all below `pr`.
    pub instance: String,
    /// The client's tool.
    pub client: String,
    /// Share of its lookups that used to hit, in percent.
    pub before: u8,
    /// Share of its recent lookups that hit, in percent.
    pub now: u8,
}

#[derive(Clone, Debug, Default)]
struct Trend {
    lookups: u64,
    /// Exponential means of hits over about 500 and 30 lookups.
    long: f64,
    short: f64,
    alarmed: bool,
}

/// The trends of all clients, by instance and client.
#[derive(Debug, Default)]
pub(super) struct Trends {
    trends: HashMap<String, Trend>,
    pub(super) regressions: Vec<Regression>,
}

impl Trends {
    /// Takes a request into account if it asks for the result of something; true when its client has just stopped hitting.
    ///
    /// Blobs do not count: who asks for one was told that it is there. Instances below the same first segment count as one, since
    /// each of them (a pull request, say) may be short-lived.
    pub(super) fn follow(&mut self, sample: &Sample<'_>) -> bool {
        let hit = match sample.outcome {
            Outcome::Hit => 1.0,
            Outcome::Miss => 0.0,
            _ => return false,
        };
        if !matches!(sample.operation, "get_action_result" | "get_ac" | "get" | "fetch_blob" | "fetch_directory") {
            return false;
        }
        let instance = match sample.instance.split_once('/') {
            Some((first, _)) => format!("{first}/*"),
            None => sample.instance.to_owned(),
        };
        let key = format!("{instance}\0{}", sample.client);
        if self.trends.len() >= MAX_TRENDS && !self.trends.contains_key(&key) {
            return false;
        }
        let Some((before, now)) = self.trends.entry(key).or_default().follow(hit) else { return false };
        let client = sample.client;
        tracing::warn!(client, instance, "hits fell from {before} % to {now} % of the lookups");
        if self.regressions.len() < MAX_TRENDS {
            self.regressions.push(Regression { instance, client: client.to_owned(), before, now });
        }
        true
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
