//! The records of segments that no table covers yet.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::index::Located;
use crate::record::{HASH, Key, Kind, spread};
use crate::segment::Segment;

/// A hash table of records, each 72 bytes: the key is part of the record and not kept twice.
#[derive(Debug, Default)]
pub(crate) struct FreshRecords {
    table: HashTable<Located>,
}

impl FreshRecords {
    /// The blob with this key, or the results of this action: the last of each segment.
    pub(crate) fn find(&self, key: &Key) -> impl Iterator<Item = &Located> {
        let key = *key;
        self.table.iter_hash(spread(&key.hash)).filter(move |found| found.entry.key == key)
    }

    /// The blobs with this hash, whatever their size.
    pub(crate) fn find_hash(&self, function: u8, hash: &[u8; HASH]) -> impl Iterator<Item = &Located> {
        let hash = *hash;
        self.table.iter_hash(spread(&hash)).filter(move |found| found.entry.key.is_blob_of(function, &hash))
    }

    /// Takes a record. Of blobs with one key the one found last is kept, of results of one action the last in each
    /// segment: threads may get here in another order than they wrote in.
    pub(crate) fn insert(&mut self, found: Located) {
        let key = found.entry.key;
        let same = |known: &Located| {
            known.entry.key == key && (key.kind != Kind::Action || known.segment.salt == found.segment.salt)
        };
        match self.table.entry(spread(&key.hash), same, |known| spread(&known.entry.key.hash)) {
            Slot::Vacant(slot) => {
                slot.insert(found);
            }
            Slot::Occupied(mut slot) => {
                let known = slot.get();
                let newer = known.segment.salt == found.segment.salt && known.entry.ordinal > found.entry.ordinal;
                if key.kind != Kind::Action || !newer {
                    *slot.get_mut() = found;
                }
            }
        }
    }

    /// Forgets the records of some segments, and gives their memory back.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Arc<Segment>) -> bool) {
        self.table.retain(|found| keep(&found.segment));
        self.table.shrink_to(self.table.len() * 2, |found| spread(&found.entry.key.hash));
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
