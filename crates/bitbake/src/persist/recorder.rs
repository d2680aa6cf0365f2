//! What threads saw while they read recipes, looked for at once.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::cache::Cache;
use super::fact::Fact;
use super::seen::{Kind, Seen};

/// Facts for which something was looked at.
pub(crate) type Noted = FxHashMap<Seen, Fact>;

/// Looks, in the threads that read recipes, for what is kept of the files and directories that these looked at.
pub(crate) struct Recorder<'a> {
    cache: &'a Cache,
    noted: Mutex<Noted>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(cache: &'a Cache) -> Self {
        Self { cache, noted: Mutex::default() }
    }

    /// Notes what a recipe saw, unless it is known.
    pub(crate) fn note(&self, seen: &[Seen]) {
        // Other answers are told, or known already.
        let takes_time = |seen: &Seen| matches!(seen.kind, Kind::Stat | Kind::LinkStat | Kind::Opened | Kind::Listing);
        for seen in seen.iter().filter(|seen| takes_time(seen) && !self.cache.knows(**seen)) {
            if !self.noted.lock().contains_key(seen) {
                let fact = self.cache.record(*seen);
                self.noted.lock().entry(*seen).or_insert(fact);
            }
        }
    }

    /// All that was noted.
    pub(crate) fn noted(self) -> Noted {
        self.noted.into_inner()
    }
}
