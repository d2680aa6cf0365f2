//! Leaves a far side alone that fails.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Failure;

/// Longest time that a far side is left alone before it is tried again.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// After some failures in a row nothing is asked for a while; then one request tries. Each try that fails doubles the while.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    /// How long the next pause is.
    pause: Duration,
    /// Whether one request tries the far side after a pause.
    trying: bool,
    open: Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    No,
    Until(Instant),
    Forever,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Suspended,
    Resumed,
}

impl Breaker {
    pub(crate) fn new(limit: u32, pause: Duration) -> Self {
        Self { limit, pause, state: Mutex::new(State { failures: 0, pause, trying: false, open: Open::No }) }
    }

    /// Whether a request may be made now. After a pause one caller may; the others wait for what becomes of it.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        match state.open {
            Open::No => true,
            Open::Forever => false,
            Open::Until(end) if now < end => false,
            Open::Until(_) => {
                state.open = Open::Until(now + state.pause);
                state.trying = true;
                true
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open != Open::No
    }

    /// Whether a request tries the far side after a pause.
    pub(crate) fn tries(&self) -> bool {
        self.state.lock().trying
    }

    /// Whether it is open for good.
    pub(crate) fn is_final(&self) -> bool {
        self.state.lock().open == Open::Forever
    }

    /// When the far side may be tried again.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        match self.state.lock().open {
            Open::No => Duration::ZERO,
            Open::Until(end) => end.saturating_duration_since(now),
            Open::Forever => MAX_PAUSE,
        }
    }

    pub(crate) fn succeeded(&self) -> Change {
        let mut state = self.state.lock();
        state.failures = 0;
        state.pause = self.pause;
        state.trying = false;
        if state.open == Open::No || state.open == Open::Forever {
            return Change::None;
        }
        state.open = Open::No;
        Change::Resumed
    }

    pub(crate) fn failed(&self, failure: Failure, now: Instant) -> Change {
        let mut state = self.state.lock();
        match failure {
            // Neither says anything about the far side as a whole.
            Failure::Local | Failure::Refused => return Change::None,
            Failure::Denied => {
                let before = std::mem::replace(&mut state.open, Open::Forever);
                return if before == Open::Forever { Change::None } else { Change::Suspended };
            }
            Failure::Unreachable | Failure::Damaged => {}
        }
        state.failures += 1;
        if state.failures < self.limit || state.open == Open::Forever {
            return Change::None;
        }
        let until = Open::Until(now + state.pause);
        let before = std::mem::replace(&mut state.open, until);
        // What was under way when it opened fails late, which says nothing new; a try does.
        if std::mem::take(&mut state.trying) {
            state.pause = (state.pause * 2).min(MAX_PAUSE);
            state.open = Open::Until(now + state.pause);
        }
        if before == Open::No { Change::Suspended } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_a_success() {
        let (breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        for _ in 0..2 {
            assert_eq!(breaker.failed(Failure::Unreachable, now), Change::None);
        }
        assert_eq!(breaker.succeeded(), Change::None);
        for _ in 0..2 {
            assert_eq!(breaker.failed(Failure::Damaged, now), Change::None);
        }
        assert!(breaker.allows(now));
        assert_eq!(breaker.failed(Failure::Unreachable, now), Change::Suspended);
        assert!(!breaker.allows(now));
        let later = now + PAUSE;
        assert!(breaker.allows(later), "one may try");
        assert!(!breaker.allows(later), "and no other");
        assert_eq!(breaker.succeeded(), Change::Resumed);
        assert!(breaker.allows(later) && breaker.allows(later));
    }

    #[test]
    fn what_is_denied_stays_denied_and_what_fails_here_does_not_count() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        assert_eq!(breaker.failed(Failure::Local, now), Change::None);
        assert_eq!(breaker.failed(Failure::Refused, now), Change::None);
        assert!(breaker.allows(now));
        assert_eq!(breaker.failed(Failure::Denied, now), Change::Suspended);
        assert_eq!(breaker.failed(Failure::Denied, now), Change::None);
        assert_eq!(breaker.succeeded(), Change::None);
        assert!(!breaker.allows(now + 100 * MAX_PAUSE));
        assert!(breaker.is_final());
    }
}
