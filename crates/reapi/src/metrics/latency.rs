//! How long requests took, closely enough for percentiles.

use std::time::Duration;

/// Buckets per octave: a bound is 19 % above the one before it.
const STEPS: f64 = 4.0;
/// Buckets: from 1 µs to 2^27 µs, which are 134 s; what took longer is in the last.
const BUCKETS: usize = 27 * 4;

/// Counts by time, in buckets that grow by the same factor.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: [u32; BUCKETS],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = latency.as_secs_f64() * 1e6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 0, and cut at the last bucket"
        )]
        let bucket = (micros.max(1.0).log2() * STEPS) as usize;
        let count = &mut self.counts[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// The time in microseconds that this share of the requests did not exceed, to within a bucket; none without requests.
    pub(super) fn percentile(&self, share: f64) -> Option<u64> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let wanted = total as f64 * share;
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let reached = *count > 0 && seen as f64 >= wanted;
            reached.then(|| upper(bucket))
        })
    }
}

/// The upper bound of a bucket in microseconds.
fn upper(bucket: usize) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 2^27"
    )]
    let bound = ((bucket + 1) as f64 / STEPS).exp2().round() as u64;
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.5), None);
        for millis in 1..=1000 {
            latencies.record(Duration::from_millis(millis));
        }
        for (share, exact) in [(0.5, 500_000.0), (0.9, 900_000.0), (0.99, 990_000.0)] {
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let ratio = latencies.percentile(share).unwrap() as f64 / exact;
            assert!((0.99..1.2).contains(&ratio), "{share}: {ratio}");
        }
        let mut long = Latencies::default();
        long.record(Duration::from_hours(1));
        long.record(Duration::ZERO);
        latencies.add(&long);
        assert_eq!(latencies.percentile(1.0), Some(1 << 27));
        assert_eq!(latencies.percentile(0.0), Some(1));
    }
}
