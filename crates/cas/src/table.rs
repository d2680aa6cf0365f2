//! Sorted, immutable tables of entries over sealed segments. Layout: `docs/design/cas.md`.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Open};
use crate::record::{ENTRY, Entry, HASH, Key, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"BNTABL\x00\x01";
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
        if bytes[..8] != *MAGIC || crc32fast::hash(&bytes[..body]) != u32_at(&bytes, body) {
            return None;
        }
        let count = usize::try_from(u64_at(&bytes, 8)).ok()?;
        let segments = u32_at(&bytes, 16) as usize;
        let bits = u32_at(&bytes, 20);
        let fan = HEADER + segments.checked_mul(COVER)?;
        let entries = fan + ((1usize << bits.min(32)) + 1) * 4;
        if entries.checked_add(count.checked_mul(ENTRY)?)? != body {
            return None;
        }
        let segments = (0..segments)
            .map(|index| (u64_at(&bytes, HEADER + index * COVER), u64_at(&bytes, HEADER + index * COVER + 8)))
            .collect();
        Some(Self { name: name.to_owned(), segments, bytes, bits, fan, entries, count })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The entry at a position in key order.
    pub(crate) fn entry(&self, position: usize) -> Option<Entry> {
        let (entry, ordinal) = Entry::decode_checked(self.raw(position))?;
        Some(Entry { ordinal, ..entry })
    }

    fn raw(&self, position: usize) -> &[u8] {
        &self.bytes[self.entries + position * ENTRY..][..ENTRY]
    }

    /// All entries of a key.
    pub(crate) fn find(&self, key: &Key) -> impl Iterator<Item = Entry> {
        let key = *key;
        self.entries_of(key.hash).filter(move |entry| entry.key == key)
    }

    /// The blobs with this hash, whatever their size.
    pub(crate) fn find_hash(&self, function: u8, hash: &[u8; HASH]) -> impl Iterator<Item = Entry> {
        let hash = *hash;
        self.entries_of(hash).filter(move |entry| entry.key.is_blob_of(function, &hash))
    }

    /// All entries with this hash.
    fn entries_of(&self, hash: [u8; HASH]) -> impl Iterator<Item = Entry> {
        let bucket = prefix(&hash).checked_shr(64 - self.bits).unwrap_or(0);
        let at = self.fan + usize::try_from(bucket).unwrap_or(0) * 4;
        let (mut from, to) = (u32_at(&self.bytes, at) as usize, u32_at(&self.bytes, at + 4) as usize);
        // The bucket is small, unless somebody mines hashes.
        if to - from > 16 {
            let (mut low, mut high) = (from, to);
            while low < high {
                let middle = usize::midpoint(low, high);
                if self.raw(middle)[..32] < hash[..] { low = middle + 1 } else { high = middle }
            }
            from = low;
        }
        (from..to)
            .skip_while(move |position| self.raw(*position)[..32] < hash[..])
            .take_while(move |position| self.raw(*position)[..32] == hash[..])
            .filter_map(|position| self.entry(position))
    }

    /// Writes a table over the segments, durably, and returns its name. `entries` come in key order, with the position
    /// of their segment.
    pub(crate) fn write(
        disk: &dyn Disk,
        dir: &Path,
        temporary: &Path,
        segments: &[(u64, u64)],
        entries: &mut dyn Iterator<Item = Entry>,
        expected: usize,
    ) -> io::Result<Self> {
        // Two to four entries start with the same bits: one or two cache lines each to look through.
        let bits = (expected / 2).max(1).ilog2();
        let mut bytes = Vec::with_capacity(HEADER + segments.len() * COVER + (4 << bits) + 8 + expected * ENTRY);
        bytes.resize(HEADER, 0);
        for (salt, end) in segments {
            bytes.extend_from_slice(&salt.to_le_bytes());
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        let fan = bytes.len();
        let mut starts = vec![0_u32; (1 << bits) + 1];
        bytes.resize(fan + starts.len() * 4, 0);
        let mut count = 0_u32;
        for entry in entries {
            bytes.extend_from_slice(&entry.encode(entry.ordinal));
            count += 1;
            let bucket = prefix(&entry.key.hash).checked_shr(64 - bits).unwrap_or(0);
            starts[usize::try_from(bucket).unwrap_or(0) + 1] = count;
        }
        let mut last = 0;
        for (index, start) in starts.iter_mut().enumerate() {
            last = last.max(*start);
            *start = last;
            bytes[fan + index * 4..][..4].copy_from_slice(&last.to_le_bytes());
        }
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&u64::from(count).to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::try_from(segments.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes[20..24].copy_from_slice(&bits.to_le_bytes());
        let check = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());

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

/// The first eight bytes of a hash as a number, in the order of keys.
fn prefix(hash: &[u8; HASH]) -> u64 {
    u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"))
}

fn write_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = disk.open(path, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync()
}

/// Entries of several tables in key order, with the segment positions of the merged list. Entries of segments without
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
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let heads = self.tables.iter().enumerate().filter(|(_, (table, _, at))| *at < table.len());
            // Raw bytes start with the hash, so their order is that of the keys' hashes.
            let (least, _) = heads.min_by_key(|(_, (table, _, at))| &table.raw(*at)[..32])?;
            let (table, map, at) = &mut self.tables[least];
            let entry = table.entry(*at);
            *at += 1;
            let Some(entry) = entry else { continue };
            if let Some(Some(segment)) = map.get(entry.segment as usize) {
                return Some(Entry { segment: *segment, ..entry });
            }
        }
    }
}
