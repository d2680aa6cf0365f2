//! Sorted, immutable tables of entries over sealed segments. Layout: `docs/design/cas.md`.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Open};
use crate::packed::{self, PACKED, Packed};
use crate::record::{ENTRY, Entry, HASH, Key, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"BNTABL\x00\x02";
/// Of tables that were written before entries were packed: whole entries, in the same order.
const OLD_MAGIC: &[u8; 8] = b"BNTABL\x00\x01";
const HEADER: usize = 32;
/// Bytes of the list of segments per segment: salt, end.
const COVER: usize = 16;

/// A table in memory.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file's name.
    pub(crate) name: String,
    /// Salt and end of each segment that the table covers wholly.
    pub(crate) segments: Vec<(u64, u64)>,
    bytes: Vec<u8>,
    bits: u32,
    fan: usize,
    entries: usize,
    count: usize,
}

impl Table {
    /// Reads and checks a table; `Ok(None)` when it is damaged.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = disk.open(&dir.join(name), Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Self::decode(name, bytes))
    }

    fn decode(name: &str, bytes: Vec<u8>) -> Option<Self> {
        let body = bytes.len().checked_sub(4).filter(|body| *body >= HEADER)?;
        let length = match bytes.first_chunk()? {
            MAGIC => PACKED,
            OLD_MAGIC => ENTRY,
            _ => return None,
        };
        if crc32fast::hash(&bytes[..body]) != u32_at(&bytes, body) {
            return None;
        }
        let count = usize::try_from(u64_at(&bytes, 8)).ok()?;
        let segments = u32_at(&bytes, 16) as usize;
        let bits = u32_at(&bytes, 20);
        let fan = HEADER + segments.checked_mul(COVER)?;
        let entries = fan + ((1usize << bits.min(32)) + 1) * 4;
        if entries.checked_add(count.checked_mul(length)?)? != body {
            return None;
        }
        let segments: Vec<(u64, u64)> = (0..segments)
            .map(|index| (u64_at(&bytes, HEADER + index * COVER), u64_at(&bytes, HEADER + index * COVER + 8)))
            .collect();
        if length == ENTRY {
            let old = bytes[entries..body].chunks_exact(ENTRY).filter_map(|bytes| {
                let (entry, ordinal) = Entry::decode_checked(bytes)?;
                Some(Packed::new(&Entry { ordinal, ..entry }))
            });
            return Self::decode(name, assemble(&segments, old, count));
        }
        Some(Self { name: name.to_owned(), segments, bytes, bits, fan, entries, count })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The entry at a position in order of hash.
    fn packed(&self, position: usize) -> Packed {
        Packed::of(&self.bytes[self.entries + position * PACKED..][..PACKED]).expect("as long as a packed entry")
    }

    /// All entries, in order of hash.
    pub(crate) fn all(&self) -> impl Iterator<Item = Packed> {
        (0..self.count).map(|position| self.packed(position))
    }

    /// All entries of a key.
    pub(crate) fn find(&self, key: &Key) -> impl Iterator<Item = Entry> {
        let key = *key;
        self.with_hash(key.hash).filter_map(move |packed| packed.entry_of(&key))
    }

    /// The blobs with this hash, whatever their size.
    pub(crate) fn find_hash(&self, function: u8, hash: &[u8; HASH]) -> impl Iterator<Item = Entry> {
        let hash = *hash;
        self.with_hash(hash).filter_map(move |packed| packed.blob_of(function, &hash))
    }

    /// All entries with this hash.
    fn with_hash(&self, hash: [u8; HASH]) -> impl Iterator<Item = Packed> {
        let start = *packed::start(&hash);
        let at = self.fan + bucket(&start, self.bits) * 4;
        let (mut from, to) = (u32_at(&self.bytes, at) as usize, u32_at(&self.bytes, at + 4) as usize);
        // The bucket is small, unless somebody mines hashes.
        if to - from > 16 {
            let (mut low, mut high) = (from, to);
            while low < high {
                let middle = usize::midpoint(low, high);
                if *self.packed(middle).start() < start { low = middle + 1 } else { high = middle }
            }
            from = low;
        }
        (from..to)
            .map(|position| self.packed(position))
            .skip_while(move |packed| *packed.start() < start)
            .take_while(move |packed| *packed.start() == start)
    }

    /// Writes a table over the segments, durably. `entries` come in order of hash, with the position of their segment.
    pub(crate) fn write(
        disk: &dyn Disk,
        dir: &Path,
        temporary: &Path,
        segments: &[(u64, u64)],
        entries: impl Iterator<Item = Packed>,
        expected: usize,
    ) -> io::Result<Self> {
        let bytes = assemble(segments, entries, expected);
        let name = format!("{:016x}.table", disk.random());
        let to: PathBuf = dir.join(&name);
        let written = write_durably(disk, temporary, &bytes).and_then(|()| disk.rename(temporary, &to));
        if let Err(error) = written.and_then(|()| disk.sync_dir(dir)) {
            let _ = disk.remove(temporary);
            return Err(error);
        }
        Self::decode(&name, bytes).ok_or_else(|| io::Error::other("a table that was just written does not check"))
    }
}

/// The content of a table, of about `expected` entries.
fn assemble(segments: &[(u64, u64)], entries: impl Iterator<Item = Packed>, expected: usize) -> Vec<u8> {
    // Two to four entries start with the same bits: one or two cache lines to look through.
    let bits = (expected / 2).max(1).ilog2();
    let mut bytes = Vec::with_capacity(HEADER + segments.len() * COVER + (4 << bits) + 8 + expected * PACKED);
    bytes.resize(HEADER, 0);
    for (salt, end) in segments {
        bytes.extend_from_slice(&salt.to_le_bytes());
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    let fan = bytes.len();
    let places = (1 << bits) + 1;
    bytes.resize(fan + places * 4, 0);
    let mut count = 0_u32;
    for packed in entries {
        bytes.extend_from_slice(packed.bytes());
        count += 1;
        let after = fan + (bucket(packed.start(), bits) + 1) * 4;
        bytes[after..after + 4].copy_from_slice(&count.to_le_bytes());
    }
    // Where nothing starts with the bits, the place is that of what comes before.
    let mut last = 0;
    for at in (fan..).step_by(4).take(places) {
        last = last.max(u32_at(&bytes, at));
        bytes[at..at + 4].copy_from_slice(&last.to_le_bytes());
    }
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&u64::from(count).to_le_bytes());
    bytes[16..20].copy_from_slice(&u32::try_from(segments.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes[20..24].copy_from_slice(&bits.to_le_bytes());
    let check = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

/// The leading bits of a hash as a number, in order of hash.
fn bucket(start: &[u8; 16], bits: u32) -> usize {
    let prefix = u64::from_be_bytes(*start.first_chunk().expect("longer than eight bytes"));
    usize::try_from(prefix.checked_shr(64 - bits).unwrap_or(0)).unwrap_or(0)
}

fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync()
}

/// Entries of several tables in order of hash, with the segment positions of the merged list. Entries of segments without
/// a position are left out.
pub(crate) struct Merge<'a> {
    tables: Vec<(&'a Table, Vec<Option<u16>>, usize)>,
}

impl<'a> Merge<'a> {
    /// `position` gives each segment's place in the merged list.
    pub(crate) fn new(tables: &'a [&'a Table], position: &dyn Fn(u64) -> Option<u16>) -> Self {
        let mapped = |table: &&'a Table| {
            let map = table.segments.iter().map(|(salt, _)| position(*salt)).collect();
            (*table, map, 0)
        };
        Self { tables: tables.iter().map(mapped).collect() }
    }
}

impl Iterator for Merge<'_> {
    type Item = Packed;

    fn next(&mut self) -> Option<Packed> {
        loop {
            let heads = self.tables.iter().enumerate().filter(|(_, (table, _, at))| *at < table.len());
            let (least, _) = heads.min_by_key(|(_, (table, _, at))| *table.packed(*at).start())?;
            let (table, map, at) = &mut self.tables[least];
            let packed = table.packed(*at);
            *at += 1;
            if let Some(Some(segment)) = map.get(packed.segment() as usize) {
                return Some(packed.with_segment(*segment));
            }
        }
    }
}

#[cfg(test)]
impl Table {
    /// The same table as it was written before entries were packed, from the sidecars of its segments.
    pub(crate) fn in_old_format(&self, disk: &dyn Disk, segments_dir: &Path) -> Vec<u8> {
        let mut entries = Vec::new();
        for (position, (salt, _)) in (0..).zip(&self.segments) {
            let segment = crate::segment::Segment::new(segments_dir, *salt, true);
            let all = segment.all_entries(disk).unwrap();
            entries.extend(all.into_iter().map(|(entry, _)| Entry { segment: position, ..entry }));
        }
        assert_eq!(entries.len(), self.len());
        entries.sort_by_key(|entry| entry.key);
        let bits = (entries.len() / 2).max(1).ilog2();
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.segments.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.resize(HEADER, 0);
        for (salt, end) in &self.segments {
            bytes.extend_from_slice(&[*salt, *end].map(u64::to_le_bytes).concat());
        }
        for place in 0..=1_usize << bits {
            let before = entries.iter().filter(|entry| bucket(packed::start(&entry.key.hash), bits) < place).count();
            bytes.extend_from_slice(&u32::try_from(before).unwrap().to_le_bytes());
        }
        for entry in entries {
            bytes.extend_from_slice(&entry.encode(entry.ordinal));
        }
        let check = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }
}
