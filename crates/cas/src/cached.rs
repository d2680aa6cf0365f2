//! What can be answered at once: from memory and the kernel's page cache, without a lock that eviction holds for long and
//! without waiting for the disk. A server does this on the threads that serve connections, since handing work to another
//! thread and back costs more than the work. `None` means that the waiting way has to be gone.

use buildnet_digest::{Digest, reapi};
use bytes::Bytes;

use crate::actions::Newest;
use crate::core::Core;
use crate::disk::Wait;
use crate::index::Located;
use crate::lookup::expand;
use crate::record::{Key, PACK_LIMIT};
use crate::references::References;

/// What memory tells of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cached<T> {
    /// It is there.
    Found(T),
    /// It is not there.
    Absent,
    /// Nothing: the store has to be asked.
    Unknown,
}

impl Core {
    /// A small blob, verified.
    pub(crate) fn read_cached(&self, digest: &Digest) -> Option<Bytes> {
        if digest.size() == 0 || digest.size() > PACK_LIMIT {
            return None;
        }
        let found = self.locate_cached(&Key::blob(digest))?;
        let (header, payload) = self.record_by(&found, Wait::No).ok()??;
        (header.digest == *digest).then_some(())?;
        expand(header.entry.codec, payload, digest.size())
    }

    /// The record of a key that was lately used, so that this use need not be recorded.
    fn locate_cached(&self, key: &Key) -> Option<Located> {
        let fresh = self.freshness();
        let view = self.index.loaded()?;
        let (segment, entry) = view.find(key)?;
        fresh.holds(segment, entry.ordinal).then(|| Located { segment: segment.clone(), entry })
    }

    /// Positions of the blobs that are not there; the others were lately used.
    pub(crate) fn missing_cached(&self, digests: impl Iterator<Item = Digest>) -> Option<Vec<usize>> {
        // Before the lookups: what others stored until now is then found by them.
        let current = self.index.is_current();
        let fresh = self.freshness();
        let view = self.index.loaded()?;
        let mut missing = Vec::new();
        for (position, digest) in digests.enumerate().filter(|(_, digest)| digest.size() > 0) {
            match view.find(&Key::blob(&digest)) {
                Some((segment, entry)) if fresh.holds(segment, entry.ordinal) => {}
                Some(_) => return None,
                None => missing.push(position),
            }
        }
        (current || missing.is_empty()).then_some(missing)
    }

    /// Whether all blobs are there and were lately used. False says nothing.
    pub(crate) fn all_cached(&self, digests: &[Digest]) -> bool {
        let fresh = self.freshness();
        let Some(view) = self.index.loaded() else { return false };
        let held = |key: &Key| view.find(key).is_some_and(|(segment, entry)| fresh.holds(segment, entry.ordinal));
        digests.iter().all(|digest| digest.size() == 0 || held(&Key::blob(digest)))
    }

    /// The result of an action, or that there is none.
    pub(crate) fn action_result_cached(&self, action: &Digest) -> Cached<reapi::ActionResult> {
        if !self.index.is_current() {
            return Cached::Unknown;
        }
        let Some(newest) = self.newest_cached(action) else { return Cached::Unknown };
        let Some(result) = newest.result() else { return Cached::Absent };
        let complete = References::of(action, &result).is_ok_and(|references| {
            references.trees.is_empty() && references.directories.is_empty() && self.all_cached(&references.blobs)
        });
        if complete { Cached::Found(result) } else { Cached::Unknown }
    }

    fn newest_cached(&self, action: &Digest) -> Option<Newest> {
        let (key, fresh) = (Key::action(action), self.freshness());
        let view = self.index.loaded()?;
        let mut candidates = Vec::with_capacity(1);
        for (segment, entry) in view.find_all(&key) {
            if !fresh.holds(segment, entry.ordinal) {
                return None;
            }
            candidates.push(Located { segment: segment.clone(), entry });
        }
        drop(view);
        let mut newest = Newest::default();
        for found in candidates {
            let record = self.record_by(&found, Wait::No).ok()??;
            if record.0.digest == *action {
                newest.take(record);
            }
        }
        Some(newest)
    }
}
