//! Whether and when a failed task starts again.

use std::time::Duration;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Succeeded,
    /// The command failed. It would fail again: never retried.
    Failed,
    /// The environment failed: disk, network, a worker that went away.
    EnvironmentFailed,
    /// Somebody ended it.
    Cancelled,
}

/// Exponential backoff with jitter, for failures of the environment only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Delay before the first retry; doubles with each.
    pub base: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Decides the jitter, so that a simulation can be repeated.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base: Duration::from_millis(200), max: Duration::from_secs(30), seed: 0 }
    }
}

impl RetryPolicy {
    /// The delay before the next attempt of a task that has made `attempts`, the last with `outcome`, and may be retried
    /// `retries` times; nothing if there is none. `salt` tells tasks apart, so that they do not retry in step.
    pub fn retry(&self, outcome: Outcome, attempts: u32, retries: u32, salt: u64) -> Option<Duration> {
        if outcome != Outcome::EnvironmentFailed || attempts > retries {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(31);
        let full = self.base.saturating_mul(1 << doublings).min(self.max);
        // Between half and all of the delay: spread, but never at once.
        let share = mix(self.seed ^ mix(salt ^ u64::from(attempts).rotate_left(32)));
        #[expect(clippy::cast_precision_loss, reason = "32 bits of jitter are plenty, and exact in an f64")]
        let fraction = 0.5 + (share >> 32) as f64 / f64::from(u32::MAX) / 2.0;
        Some(full.mul_f64(fraction).min(full))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_environment_is_retried_and_not_for_ever() {
        let policy = RetryPolicy::default();
        for outcome in [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled] {
            assert_eq!(policy.retry(outcome, 1, 5, 0), None);
        }
        assert!(policy.retry(Outcome::EnvironmentFailed, 2, 2, 0).is_some());
        assert_eq!(policy.retry(Outcome::EnvironmentFailed, 3, 2, 0), None);
        assert_eq!(policy.retry(Outcome::EnvironmentFailed, 1, 0, 0), None);
    }

    #[test]
    fn delays_double_with_jitter_up_to_the_longest() {
        let policy = RetryPolicy { seed: 7, ..RetryPolicy::default() };
        for salt in 0..200 {
            for attempt in 1..40 {
                let full = policy.base.saturating_mul(1 << (attempt - 1).min(31)).min(policy.max);
                let delay = policy.retry(Outcome::EnvironmentFailed, attempt, 100, salt).unwrap();
                assert!(delay >= full.mul_f64(0.499) && delay <= full, "{delay:?} of {full:?}");
                assert_eq!(policy.retry(Outcome::EnvironmentFailed, attempt, 100, salt), Some(delay));
            }
        }
        let first = |salt| policy.retry(Outcome::EnvironmentFailed, 1, 1, salt);
        assert_ne!(first(1), first(2));
    }
}
