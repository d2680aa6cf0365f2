//! One direction of one request: how long the server has waited for the client, and whether that was too long.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Pace {
    patience: f64,
    /// Seconds that a byte may take.
    per_byte: f64,
    /// Seconds of waiting that are left.
    allowance: f64,
    waiting_since: Option<Instant>,
    waker: Option<Waker>,
    cut: bool,
}

impl Pace {
    /// A client may let the server wait for `patience`, and for as long as what it moves takes at `min_rate` bytes per second.
    pub(super) fn new(patience: Duration, min_rate: u64) -> Self {
        let patience = patience.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let per_byte = 1.0 / min_rate.max(1) as f64;
        Self { patience, per_byte, allowance: patience, waiting_since: None, waker: None, cut: false }
    }

    /// It is the client's turn.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// As [`wait`](Self::wait), and whoever polls wants to know when the request is cut.
    pub(super) fn wait_with(&mut self, now: Instant, context: &Context<'_>) {
        self.wait(now);
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
    }

    /// It is the server's turn.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.allowance -= now.duration_since(since).as_secs_f64();
        }
    }

    /// So many bytes moved, or are about to. What went fast before buys no stall later: the allowance never exceeds what these bytes
    /// may take.
    pub(super) fn moved(&mut self, bytes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "bytes in memory")]
        let earned = bytes as f64 * self.per_byte;
        self.allowance = (self.allowance + earned).min(self.patience + earned);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the client has just used up its allowance.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let waited = self.waiting_since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        if self.cut || waited == 0.0 || waited <= self.allowance {
            return false;
        }
        self.cut = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client that moves `bytes` every `every`; seconds until it is cut, at most `most`.
    fn lasts(bytes: usize, every: f64, most: f64) -> f64 {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut pace = Pace::new(Duration::from_mins(1), 4096);
        let mut now = 0.0;
        pace.wait(at(now));
        while now < most {
            now += every;
            if pace.look(at(now)) {
                break;
            }
            pace.resume(at(now));
            pace.moved(bytes);
            pace.wait(at(now));
        }
        now
    }

    #[test]
    fn a_byte_a_second_is_too_slow_and_the_least_rate_is_not() {
        assert!((60.0..63.0).contains(&lasts(1, 1.0, 1e4)));
        assert!(lasts(4096, 1.0, 1e4) >= 1e4);
        assert!(lasts(64 << 10, 15.0, 1e4) >= 1e4);
        assert!(lasts(2048, 1.0, 1e4) < 150.0);
        // Silence for longer than the patience and what was sent before may take.
        assert!(lasts(1 << 10, 70.0, 1e4) < 150.0);
    }

    #[test]
    fn the_servers_own_time_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1), 1);
        assert!(!pace.look(start + Duration::from_hours(1)), "it is the server's turn");
        pace.wait(start);
        pace.resume(start);
        assert!(!pace.look(start + Duration::from_hours(1)));
        pace.wait(start);
        assert!(pace.look(start + Duration::from_secs(2)) && pace.is_cut());
        assert!(!pace.look(start + Duration::from_secs(3)), "told once");
    }

    proptest! {
        /// However it sends, a request takes no longer than the patience and its bytes at the least rate.
        #[test]
        fn no_request_outlasts_its_bytes(steps in prop::collection::vec((0_usize..100_000, 0.0_f64..90.0), 1..60)) {
            let start = Instant::now();
            let mut pace = Pace::new(Duration::from_mins(1), 4096);
            let (mut now, mut limit) = (0.0, 60.0);
            pace.wait(start);
            for (step, seconds) in steps {
                now += seconds;
                let at = start + Duration::from_secs_f64(now);
                if pace.look(at) {
                    return Ok(());
                }
                prop_assert!(now <= limit + 1e-3, "{now} s of {limit}");
                pace.resume(at);
                pace.moved(step);
                pace.wait(at);
                limit += f64::from(u32::try_from(step).unwrap()) / 4096.0;
            }
        }
    }
}
