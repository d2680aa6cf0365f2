//! What the far side was found to have, or to lack, a moment ago.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use buildnet_digest::Digest;
use parking_lot::Mutex;

/// How long an answer counts. What the far side has is read or written soon, which tells again; and it evicts by days.
const FRESH: Duration = Duration::from_secs(30);
/// Most answers that are remembered.
const MOST: usize = 1 << 17;

/// Answers, for a while.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: Mutex<HashMap<Digest, (Instant, bool)>>,
}

impl Seen {
    /// Whether the far side has a blob, where that is known.
    pub(crate) fn get(&self, digest: &Digest, now: Instant) -> Option<bool> {
        let answers = self.answers.lock();
        answers.get(digest).filter(|(at, _)| now.saturating_duration_since(*at) < FRESH).map(|(_, there)| *there)
    }

    pub(crate) fn note(&self, digests: impl IntoIterator<Item = (Digest, bool)>, now: Instant) {
        let mut answers = self.answers.lock();
        for (digest, there) in digests {
            if answers.len() >= MOST {
                answers.retain(|_, (at, _)| now.saturating_duration_since(*at) < FRESH);
                if answers.len() >= MOST {
                    answers.clear();
                }
            }
            answers.insert(digest, (now, there));
        }
    }
}

#[cfg(test)]
mod tests {
    use buildnet_digest::DigestFunction;

    use super::*;

    #[test]
    fn answers_grow_old_and_are_bounded() {
        let (seen, now) = (Seen::default(), Instant::now());
        let digest = |number: usize| DigestFunction::Blake3.digest(&number.to_le_bytes());
        seen.note([(digest(0), true), (digest(1), false)], now);
        assert_eq!([0, 1, 2].map(|number| seen.get(&digest(number), now)), [Some(true), Some(false), None]);
        assert_eq!(seen.get(&digest(0), now + FRESH), None);
        seen.note((0..MOST + 10).map(|number| (digest(number), true)), now);
        assert!(seen.answers.lock().len() <= MOST);
        assert_eq!(seen.get(&digest(MOST + 9), now), Some(true));
    }
}
