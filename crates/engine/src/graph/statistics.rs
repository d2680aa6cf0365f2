//! What an evaluation had to do.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one evaluation. A key computed for several evaluations at once counts in the one that began it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requested keys that were clean: nothing was done for them.
    pub reused: u64,
    /// Keys whose dependencies were checked and had not changed: not computed.
    pub verified: u64,
    /// Keys that were computed, with a value or a failure.
    pub computed: u64,
    /// Of these, keys whose value was the same as before, so that nothing above had to be computed for them.
    pub cut_off: u64,
    /// Of these, keys that failed.
    pub failed: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) reused: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) computed: AtomicU64,
    pub(super) cut_off: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Statistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            reused: get(&self.reused),
            verified: get(&self.verified),
            computed: get(&self.computed),
            cut_off: get(&self.cut_off),
            failed: get(&self.failed),
        }
    }
}
