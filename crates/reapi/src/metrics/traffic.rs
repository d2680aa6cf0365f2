//! The counters, summed by protocol, by client and by instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::Latencies;
use super::{Key, Outcome, Row};

/// What clients asked for, and what they got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Of all clients; its name is empty.
    pub total: Share,
    /// By protocol, the busiest first.
    pub protocols: Vec<Share>,
    /// By the client's tool, the busiest first.
    pub clients: Vec<Share>,
    /// By instance, the busiest first; the default one's name is empty.
    pub instances: Vec<Share>,
}

/// The part of one protocol, client or instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which; `other` sums those that came after too many different ones.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Lookups that missed.
    pub misses: u64,
    /// Requests that stored something.
    pub stored: u64,
    /// Requests that were refused or failed.
    pub failed: u64,
    /// Bytes of content received.
    pub received: u64,
    /// Bytes of content sent.
    pub sent: u64,
    /// Time to answer that half of the requests did not exceed, in microseconds, to within 19 %; none without requests.
    pub p50_us: Option<u64>,
    /// The same for 90 % of the requests.
    pub p90_us: Option<u64>,
    /// The same for 99 % of the requests.
    pub p99_us: Option<u64>,
}

#[derive(Default)]
struct Sum {
    share: Share,
    latencies: Latencies,
}

impl Sum {
    fn add(&mut self, row: &Row) {
        let share = &mut self.share;
        share.requests += row.outcomes.iter().sum::<u64>();
        share.hits += row.outcomes[Outcome::Hit as usize];
        share.misses += row.outcomes[Outcome::Miss as usize];
        share.stored += row.outcomes[Outcome::Stored as usize];
        share.failed += row.outcomes[Outcome::Failed as usize];
        share.received += row.received;
        share.sent += row.sent;
        self.latencies.add(&row.latencies);
    }

    fn share(self, name: &str) -> Share {
        let at = |share| self.latencies.percentile(share);
        let (p50_us, p90_us, p99_us) = (at(0.5), at(0.9), at(0.99));
        Share { name: name.to_owned(), p50_us, p90_us, p99_us, ..self.share }
    }
}

pub(super) fn summarize<'a>(rows: impl Iterator<Item = (&'a Key, &'a Row)>) -> Traffic {
    let mut total = Sum::default();
    let [mut protocols, mut clients, mut instances]: [BTreeMap<&str, Sum>; 3] = Default::default();
    for (key, row) in rows {
        total.add(row);
        protocols.entry(key.protocol).or_default().add(row);
        clients.entry(&key.client).or_default().add(row);
        instances.entry(&key.instance).or_default().add(row);
    }
    let shares = |sums: BTreeMap<&str, Sum>| {
        let mut shares: Vec<Share> = sums.into_iter().map(|(name, sum)| sum.share(name)).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.requests));
        shares
    };
    Traffic {
        total: total.share(""),
        protocols: shares(protocols),
        clients: shares(clients),
        instances: shares(instances),
    }
}
