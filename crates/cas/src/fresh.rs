//! The records of segments that no table covers yet.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::packed::{self, Packed};
use crate::record::{Entry, HASH, Key};
use crate::segment::Segment;

/// A hash table of packed entries.
#[derive(Debug, Default)]
pub(crate) struct FreshRecords {
    table: HashTable<Packed>,
    /// The segments that the entries name by position; positions of those that were forgotten are used again.
    segments: Vec<Option<Arc<Segment>>>,
}

impl FreshRecords {
    /// The blob with this key, or the results of this action: the last of each segment.
    pub(crate) fn find(&self, key: &Key) -> impl Iterator<Item = (&Arc<Segment>, Entry)> {
        let key = *key;
        self.resolve(self.with_hash(key.hash).filter_map(move |packed| packed.entry_of(&key)))
    }

    /// The blobs with this hash, whatever their size.
    pub(crate) fn find_hash(&self, function: u8, hash: &[u8; HASH]) -> impl Iterator<Item = (&Arc<Segment>, Entry)> {
        let hash = *hash;
        self.resolve(self.with_hash(hash).filter_map(move |packed| packed.blob_of(function, &hash)))
    }

    /// All records, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<Segment>, Packed)> {
        let segment = |packed: &Packed| self.segments.get(packed.segment() as usize)?.as_ref();
        self.table.iter().filter_map(move |packed| Some((segment(packed)?, *packed)))
    }

    fn with_hash(&self, hash: [u8; HASH]) -> impl Iterator<Item = &Packed> {
        self.table.iter_hash(packed::spread(packed::start(&hash)))
    }

    fn resolve(&self, entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = (&Arc<Segment>, Entry)> {
        entries.filter_map(|entry| Some((self.segments.get(entry.segment as usize)?.as_ref()?, entry)))
    }

    /// Takes records of a segment. Of blobs with one key the one found last is kept, of results of one action the last in each
    /// segment: threads may get here in another order than they wrote in.
    pub(crate) fn insert(&mut self, segment: &Arc<Segment>, entries: impl Iterator<Item = Entry>) {
        let position = self.position(segment);
        for entry in entries {
            let packed = Packed::new(&Entry { segment: position, ..entry });
            let same = |known: &Packed| {
                known.is_same_key(&packed) && (!packed.is_action() || known.segment() == packed.segment())
            };
            match self.table.entry(packed.spread(), same, Packed::spread) {
                Slot::Vacant(slot) => {
                    slot.insert(packed);
                }
                Slot::Occupied(mut slot) => {
                    if !packed.is_action() || slot.get().ordinal() <= packed.ordinal() {
                        *slot.get_mut() = packed;
                    }
                }
            }
        }
    }

    fn position(&mut self, segment: &Arc<Segment>) -> u16 {
        let of = |slot: &Option<Arc<Segment>>| slot.as_ref().is_some_and(|known| known.salt == segment.salt);
        let free = || self.segments.iter().position(Option::is_none).unwrap_or(self.segments.len());
        let at = self.segments.iter().position(of).unwrap_or_else(free);
        if at == self.segments.len() {
            self.segments.push(None);
        }
        // The same segment may be known afresh.
        self.segments[at] = Some(Arc::clone(segment));
        u16::try_from(at).expect("a process cannot open so many files as there are positions")
    }

    /// Forgets the records of some segments, and gives their memory back.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Arc<Segment>) -> bool) {
        for slot in &mut self.segments {
            slot.take_if(|segment| !keep(segment));
        }
        let segments = &self.segments;
        self.table.retain(|packed| segments.get(packed.segment() as usize).is_some_and(Option::is_some));
        self.table.shrink_to(self.table.len() * 2, Packed::spread);
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
