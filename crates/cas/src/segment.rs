//! One segment: a file of records, with a sidecar of entries and times of last use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, DiskFile, Open};
use crate::record::{ENTRY, Entry, HEADER_MAX, Header, SLOT, u32_at, u64_at};

/// Most records in one segment.
pub(crate) const MAX_RECORDS: u32 = 64 * 4096;
/// The time of last use that marks a record as removed or corrupted.
pub(crate) const DEAD: u32 = u32::MAX;

/// Times of last use are allocated, and entries read, by so many records.
const CHUNK: usize = 4096;
const CHUNKS: usize = MAX_RECORDS as usize / CHUNK;
const SIDECAR_MAGIC: &[u8; 8] = b"BNSIDE\x00\x01";
/// Bytes that a scan reads at a time.
const WINDOW: usize = 1 << 20;

/// A segment and what this process knows of it.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Random; part of the name, and of every record's header, so that content cannot imitate a record.
    pub(crate) salt: u64,
    writable: bool,
    path: PathBuf,
    sidecar_path: PathBuf,
    file: OnceLock<Arc<dyn DiskFile>>,
    sidecar: OnceLock<Arc<dyn DiskFile>>,
    used: Vec<OnceLock<Box<[AtomicU32]>>>,
    /// Offset after the last known record.
    end: AtomicU64,
    /// Number after the last known record's.
    count: AtomicU32,
    /// Whether this process appends to it.
    pub(crate) own: AtomicBool,
    /// Whether its names are known to survive power loss.
    pub(crate) named: AtomicBool,
    /// Offset up to which the content is known to survive power loss.
    pub(crate) durable: AtomicU64,
    pub(crate) commit: Mutex<Commit>,
    pub(crate) committed: Condvar,
}

/// The state of group commit on a segment.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// Whether some thread is syncing the file for all.
    pub(crate) leader: bool,
}

impl Segment {
    /// The segment with this file name in `dir`, if it is a segment's.
    pub(crate) fn named(dir: &Path, name: &str, writable: bool) -> Option<Self> {
        let hex = name.strip_suffix(".seg")?;
        (hex.len() == 16)
            .then(|| u64::from_str_radix(hex, 16).ok())
            .flatten()
            .map(|salt| Self::new(dir, salt, writable))
    }

    pub(crate) fn new(dir: &Path, salt: u64, writable: bool) -> Self {
        Self {
            salt,
            writable,
            path: dir.join(format!("{salt:016x}.seg")),
            sidecar_path: dir.join(format!("{salt:016x}.use")),
            file: OnceLock::new(),
            sidecar: OnceLock::new(),
            used: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
            end: AtomicU64::new(0),
            count: AtomicU32::new(0),
            own: AtomicBool::new(false),
            named: AtomicBool::new(false),
            durable: AtomicU64::new(0),
            commit: Mutex::default(),
            committed: Condvar::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn sidecar_path(&self) -> &Path {
        &self.sidecar_path
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Records that everything before `end` and `count` is known.
    pub(crate) fn advance(&self, end: u64, count: u32) {
        self.end.fetch_max(end, Ordering::AcqRel);
        self.count.fetch_max(count, Ordering::AcqRel);
    }

    /// The file of records.
    pub(crate) fn file(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        self.opened(&self.file, disk, &self.path)
    }

    /// The sidecar.
    pub(crate) fn sidecar(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        self.opened(&self.sidecar, disk, &self.sidecar_path)
    }

    fn opened(
        &self,
        cell: &OnceLock<Arc<dyn DiskFile>>,
        disk: &dyn Disk,
        path: &Path,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = cell.get() {
            return Ok(Arc::clone(file));
        }
        let file = disk.open(path, if self.writable { Open::Write } else { Open::Read })?;
        Ok(Arc::clone(cell.get_or_init(|| file)))
    }

    /// Creates the sidecar if it is missing; only for who has the segment's lock.
    pub(crate) fn create_sidecar(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.sidecar.get().is_none() {
            let _ = self.sidecar.set(disk.open(&self.sidecar_path, Open::Create)?);
        }
        Ok(())
    }

    /// Keeps an opened file as this segment's.
    pub(crate) fn adopt_file(&self, file: Arc<dyn DiskFile>) {
        let _ = self.file.set(file);
    }

    /// Seconds since 1970 of the last use that this process knows of; zero when it knows none, [`DEAD`] when removed.
    pub(crate) fn used(&self, ordinal: u32) -> u32 {
        let chunk = self.used.get(ordinal as usize / CHUNK).and_then(OnceLock::get);
        chunk.map_or(0, |chunk| chunk[ordinal as usize % CHUNK].load(Ordering::Relaxed))
    }

    /// Remembers a time of last use in this process.
    pub(crate) fn remember_used(&self, ordinal: u32, time: u32) {
        if let Some(chunk) = self.used.get(ordinal as usize / CHUNK) {
            let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
            chunk[ordinal as usize % CHUNK].store(time, Ordering::Relaxed);
        }
    }

    /// Records a time of last use for all processes. It is not synced: ages may be lost with the power, never content.
    pub(crate) fn touch(&self, disk: &dyn Disk, ordinal: u32, time: u32) -> io::Result<()> {
        self.remember_used(ordinal, time);
        self.sidecar(disk)?.write_at(&time.to_le_bytes(), slot(ordinal) + SLOT as u64)
    }

    /// The time of last use that the sidecar has, by whichever process.
    pub(crate) fn recorded_use(&self, disk: &dyn Disk, ordinal: u32) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.sidecar(disk)?.read_at(&mut bytes, slot(ordinal) + SLOT as u64)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes the entries of consecutive records, the first of which has the number `first`.
    pub(crate) fn write_entries(&self, disk: &dyn Disk, entries: &[(Entry, u32)]) -> io::Result<()> {
        let Some((first, _)) = entries.first() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
        for (entry, used) in entries {
            bytes.extend_from_slice(&entry.encode(*used));
            self.remember_used(entry.ordinal, *used);
        }
        self.sidecar(disk)?.write_at(&bytes, slot(first.ordinal))
    }

    /// Writes the sidecar's header. A sealed sidecar is complete, and was durable before its header said so.
    pub(crate) fn write_sidecar_header(&self, disk: &dyn Disk, sealed: bool) -> io::Result<()> {
        let mut header = [0; ENTRY];
        header[..8].copy_from_slice(SIDECAR_MAGIC);
        header[8..16].copy_from_slice(&disk.boot().to_le_bytes());
        header[16..24].copy_from_slice(&self.salt.to_le_bytes());
        header[24..28].copy_from_slice(&u32::from(sealed).to_le_bytes());
        header[28..32].copy_from_slice(&self.count().to_le_bytes());
        let check = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&check.to_le_bytes());
        self.sidecar(disk)?.write_at(&header, 0)
    }

    /// Entries that the sidecar has beyond those known. Stops at the first that is not whole.
    pub(crate) fn read_new(&self, disk: &dyn Disk) -> io::Result<Vec<Entry>> {
        let sidecar = self.sidecar(disk)?;
        let size = self.file(disk)?.size()?;
        let from = slot(self.count());
        let length = usize::try_from(sidecar.size()?.saturating_sub(from)).unwrap_or(0);
        let mut bytes = vec![0; length];
        let length = sidecar.read_at(&mut bytes, from)?;
        let (mut end, mut count) = (self.end(), self.count());
        let mut entries = Vec::with_capacity(length / ENTRY);
        for bytes in bytes[..length].chunks_exact(ENTRY) {
            let Some((entry, used)) = Entry::decode(bytes) else { break };
            if u64::from(entry.offset) < end || entry.end() > size || count >= MAX_RECORDS {
                break;
            }
            end = entry.end();
            self.remember_used(count, used);
            entries.push(Entry { ordinal: count, ..entry });
            count += 1;
        }
        self.advance(end, count);
        Ok(entries)
    }

    /// Whether another process has added entries to the sidecar.
    pub(crate) fn has_new(&self, disk: &dyn Disk) -> bool {
        let size = self.sidecar(disk).and_then(|sidecar| sidecar.size());
        size.is_ok_and(|size| size > slot(self.count()))
    }

    /// Every entry of the sidecar with its time of last use, removed ones too. Holes are passed over.
    pub(crate) fn all_entries(&self, disk: &dyn Disk) -> io::Result<Vec<(Entry, u32)>> {
        let mut entries = Vec::with_capacity(self.count() as usize);
        self.each_entry(disk, &mut |entry, used| entries.push((entry, used)))?;
        Ok(entries)
    }

    /// Calls `act` with each of them, in a little memory.
    pub(crate) fn each_entry(&self, disk: &dyn Disk, act: &mut dyn FnMut(Entry, u32)) -> io::Result<()> {
        let sidecar = self.sidecar(disk)?;
        let mut bytes = vec![0; CHUNK * ENTRY];
        for first in (0..MAX_RECORDS).step_by(CHUNK) {
            let length = sidecar.read_at(&mut bytes, slot(first))?;
            for (ordinal, bytes) in (first..).zip(bytes[..length].chunks_exact(ENTRY)) {
                if let Some((entry, used)) = Entry::decode(bytes) {
                    act(Entry { ordinal, ..entry }, used);
                }
            }
            if length < bytes.len() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the sidecar's entries can be believed: written since the machine started, or sealed.
    pub(crate) fn sidecar_trust(&self, disk: &dyn Disk) -> Trust {
        let mut header = [0; ENTRY];
        let read = self.sidecar(disk).and_then(|sidecar| sidecar.read_at(&mut header, 0));
        let whole = read.is_ok_and(|length| length == ENTRY)
            && header[..8] == *SIDECAR_MAGIC
            && crc32fast::hash(&header[..60]) == u32_at(&header, 60)
            && u64_at(&header, 16) == self.salt;
        match (whole, u32_at(&header, 24), u64_at(&header, 8)) {
            (true, 1, _) => Trust::Sealed { count: u32_at(&header, 28) },
            (true, _, boot) if boot == disk.boot() => Trust::SameBoot,
            _ => Trust::None,
        }
    }

    /// Records beyond those known, found by reading the segment itself, each with its time. Damaged stretches are skipped:
    /// the salt at each record's start is found again.
    pub(crate) fn scan(&self, disk: &dyn Disk) -> io::Result<Scan> {
        let file = self.file(disk)?;
        let size = file.size()?;
        let mut window = Window { file: &*file, bytes: Vec::new(), start: 0 };
        let mut found = Scan { entries: Vec::new(), damaged: 0 };
        let (mut position, mut count) = (self.end(), self.count());
        let mut in_damage = false;
        while position < size && count < MAX_RECORDS {
            if let Some(header) = window.record(self.salt, position, count)? {
                count = header.entry.ordinal + 1;
                position = header.entry.end();
                self.advance(position, count);
                let seconds = u32::try_from(header.time / 1_000_000).unwrap_or(0);
                found.entries.push((header.entry, seconds));
                in_damage = false;
            } else {
                found.damaged += u64::from(!in_damage);
                in_damage = true;
                position += 8;
            }
        }
        Ok(found)
    }
}

/// How far a sidecar can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Complete, with so many entries.
    Sealed { count: u32 },
    /// As far as it goes: no power loss since it was written.
    SameBoot,
    /// Not at all.
    None,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Records and the seconds since 1970 at which they were written.
    pub(crate) entries: Vec<(Entry, u32)>,
    /// Damaged stretches.
    pub(crate) damaged: u64,
}

fn slot(ordinal: u32) -> u64 {
    (u64::from(ordinal) + 1) * ENTRY as u64
}

/// The part of a file that was read last.
struct Window<'a> {
    file: &'a dyn DiskFile,
    bytes: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// Up to `length` bytes at `offset`; fewer only at the file's end.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let inside = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let inside = inside.filter(|skip| skip + length <= self.bytes.len());
        let skip = if let Some(skip) = inside {
            skip
        } else {
            self.bytes.resize(length.max(WINDOW), 0);
            let read = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
            0
        };
        Ok(&self.bytes[skip..(skip + length).min(self.bytes.len())])
    }

    /// The whole and undamaged record at `offset`, numbered `count` or later.
    fn record(&mut self, salt: u64, offset: u64, count: u32) -> io::Result<Option<Header>> {
        let Some(header) = Header::decode(self.at(offset, HEADER_MAX)?, salt, offset) else { return Ok(None) };
        if header.entry.ordinal < count {
            return Ok(None);
        }
        let stored = header.entry.stored as usize;
        let payload = self.at(header.entry.payload(), stored)?;
        Ok((payload.len() == stored && crc32fast::hash(payload) == header.check).then_some(header))
    }
}
