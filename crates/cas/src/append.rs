//! Appending records: the active segment, and group commit.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::core::Core;
use crate::disk::{DiskFile, Open};
use crate::error::CasError;
use crate::options::Durability;
use crate::record::{Entry, Record};
use crate::segment::{MAX_RECORDS, Segment};

/// Most bytes that one write appends, besides a single larger record.
const MAX_WRITE: u64 = 32 << 20;

/// The segment that this process appends to.
#[derive(Debug, Default)]
pub(crate) struct Appender {
    active: Mutex<Option<Active>>,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    /// Open for writing, and locked: while it is, no other process appends.
    file: Arc<dyn DiskFile>,
    tail: u64,
    count: u32,
}

impl Core {
    /// Appends records, and returns when they are so durable. All of them, or none.
    pub(crate) fn commit(&self, records: &[Record], durability: Durability) -> Result<(), CasError> {
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |record: &&Record| {
                bytes += record.length();
                bytes <= MAX_WRITE
            };
            let count = rest.iter().take(MAX_RECORDS as usize / 4).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            self.commit_some(now, durability)?;
            rest = later;
        }
        Ok(())
    }

    fn commit_some(&self, records: &[Record], durability: Durability) -> Result<(), CasError> {
        self.latch.check(&self.dir)?;
        let mut active = self.appender.active.lock();
        let mut full = Vec::new();
        if active.as_ref().is_some_and(|active| self.is_full(active.tail, active.count, records.len())) {
            full.extend(active.take());
        }
        if active.is_none() {
            *active = Some(self.activate(&mut full, durability)?);
        }
        let current = active.as_mut().expect("activated above");
        let time = u64::try_from(self.disk.now().as_micros()).unwrap_or(u64::MAX);
        let mut buffer =
            Vec::with_capacity(usize::try_from(records.iter().map(Record::length).sum::<u64>()).unwrap_or(0));
        let entries: Vec<(Entry, u32)> = (current.count..)
            .zip(records)
            .map(|(ordinal, record)| {
                let time = if record.time == 0 { time } else { record.time };
                (record.encode(current.segment.salt, current.tail, ordinal, time, &mut buffer), record.used)
            })
            .collect();
        if let Err(error) = current.file.write_at(&buffer, current.tail) {
            return Err(self.undo_write(&mut active, error));
        }
        let (segment, file) = (Arc::clone(&current.segment), Arc::clone(&current.file));
        current.tail += buffer.len() as u64;
        current.count = entries.last().map_or(current.count, |(entry, _)| entry.ordinal + 1);
        let end = current.tail;
        segment.advance(end, current.count);
        drop(active);
        for full in full {
            self.seal_later(full.segment, full.file);
        }

        if durability == Durability::Synced {
            self.sync_to(&segment, &*file, end)?;
        }
        if let Err(error) = segment.write_entries(&*self.disk, &entries) {
            // The records are safe; who opens the segment next finds them by reading it.
            tracing::warn!(%error, segment = %segment.path().display(), "cannot write index entries");
        }
        self.index.insert(&segment, entries.iter().map(|(entry, _)| *entry));
        Ok(())
    }

    fn is_full(&self, tail: u64, count: u32, more: usize) -> bool {
        tail >= self.segment_bytes || count as usize + more > MAX_RECORDS as usize
    }

    /// Removes what a failed write left. A full disk may have space again later; after any other error the disk is not
    /// trusted any more.
    fn undo_write(&self, active: &mut Option<Active>, error: io::Error) -> CasError {
        let Some(current) = active.as_ref() else { return CasError::io("write", &self.dir, error) };
        let path = current.segment.path().to_owned();
        let undone = current.file.truncate(current.tail);
        if undone.is_err() {
            *active = None;
        }
        let error = CasError::io("write", &path, error);
        if !matches!(error, CasError::DiskFull { .. }) {
            self.latch.close(&error.to_string());
        }
        error
    }

    /// Group commit: one thread syncs for all that have written by then; nobody waits for a timer, and no lock is held
    /// meanwhile.
    fn sync_to(&self, segment: &Segment, file: &dyn DiskFile, end: u64) -> Result<(), CasError> {
        let mut commit = segment.commit.lock();
        loop {
            if segment.durable.load(Ordering::Acquire) >= end {
                return Ok(());
            }
            self.latch.check(&self.dir)?;
            if commit.leader {
                segment.committed.wait(&mut commit);
                continue;
            }
            commit.leader = true;
            drop(commit);
            // As late as possible: all that was written until now is covered.
            let target = segment.end();
            let synced = file.sync().and_then(|()| self.sync_name(segment));
            if let Err(error) = &synced {
                // The kernel may have marked the lost pages clean, so that a second sync would succeed without them.
                self.latch.close(&format!("{} could not be synced: {error}", segment.path().display()));
                let _ = file.truncate(segment.durable.load(Ordering::Acquire));
            }
            commit = segment.commit.lock();
            commit.leader = false;
            if synced.is_ok() {
                segment.durable.fetch_max(target, Ordering::AcqRel);
            }
            segment.committed.notify_all();
            if let Err(error) = synced {
                return Err(CasError::io("sync", segment.path(), error));
            }
        }
    }

    /// Makes the names of a segment and its sidecar survive power loss, once.
    fn sync_name(&self, segment: &Segment) -> io::Result<()> {
        if !segment.named.load(Ordering::Acquire) {
            self.disk.sync_dir(self.index.segments_dir())?;
            segment.named.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Takes over a segment whose process is gone, or creates one. Full ones found on the way go into `full`.
    fn activate(&self, full: &mut Vec<Active>, durability: Durability) -> Result<Active, CasError> {
        let dir = self.index.segments_dir();
        let failed = |error| CasError::io("open a segment in", dir, error);
        self.index.refresh().map_err(failed)?;
        let open = self.index.view().map_err(failed)?.open().to_vec();
        for segment in open.iter().filter(|segment| !segment.own.load(Ordering::Acquire)) {
            let taken =
                self.take_over(segment, durability).map_err(|error| CasError::io("open", segment.path(), error))?;
            match taken {
                Some(active) if self.is_full(active.tail, active.count, MAX_RECORDS as usize / 4) => full.push(active),
                Some(active) => return Ok(active),
                None => {}
            }
        }
        self.create(durability).map_err(|error| {
            let error = CasError::io("create a segment in", dir, error);
            if !matches!(error, CasError::DiskFull { .. }) && durability == Durability::Synced {
                self.latch.close(&error.to_string());
            }
            error
        })
    }

    fn take_over(&self, segment: &Arc<Segment>, durability: Durability) -> io::Result<Option<Active>> {
        let file = match self.disk.open(segment.path(), Open::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !file.try_lock()? || self.disk.size(segment.path()).is_err() {
            return Ok(None);
        }
        let segment = self.index.recover(segment)?;
        segment.adopt_file(Arc::clone(&file));
        file.truncate(segment.end())?;
        if durability == Durability::Synced {
            // Its last owner may not have synced it.
            file.sync()?;
            self.sync_name(&segment)?;
            segment.durable.store(segment.end(), Ordering::Release);
        }
        Ok(Some(Active { tail: segment.end(), count: segment.count(), segment, file }))
    }

    fn create(&self, durability: Durability) -> io::Result<Active> {
        let dir = self.index.segments_dir();
        let segment = Segment::new(dir, self.disk.random(), true);
        segment.own.store(true, Ordering::Release);
        let create = || -> io::Result<Arc<dyn DiskFile>> {
            let file = self.disk.open(segment.path(), Open::CreateNew)?;
            file.try_lock()?;
            segment.create_sidecar(&*self.disk)?;
            segment.write_sidecar_header(&*self.disk, false)?;
            if durability == Durability::Synced {
                self.sync_name(&segment)?;
            }
            Ok(file)
        };
        let file = create().inspect_err(|_| {
            let _ = self.disk.remove(segment.path());
            let _ = self.disk.remove(segment.sidecar_path());
        })?;
        segment.adopt_file(Arc::clone(&file));
        let segment = Arc::new(segment);
        self.index.add_segment(&segment);
        Ok(Active { segment, file, tail: 0, count: 0 })
    }

    /// Seals the active segment, so that its space can be freed.
    pub(crate) fn retire(&self) -> Result<(), CasError> {
        let active = self.appender.active.lock().take();
        match active {
            Some(active) if active.count > 0 => self.seal(&active.segment, &*active.file),
            Some(active) => {
                *self.appender.active.lock() = Some(active);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Seals a full segment: syncs it and its sidecar, and writes its table.
    pub(crate) fn seal(&self, segment: &Arc<Segment>, file: &dyn DiskFile) -> Result<(), CasError> {
        let failed = |error| CasError::io("seal", segment.path(), error);
        self.sync_to(segment, file, segment.end())?;
        // Entries may be missing: threads that committed last may still be writing theirs, or the disk was full.
        let whole = Arc::clone(segment);
        let scan = || -> io::Result<()> {
            let mut known = HashSet::with_capacity(whole.count() as usize);
            whole.each_entry(&*self.disk, &mut |entry, _| {
                known.insert(entry.ordinal);
            })?;
            if known.len() != whole.count() as usize {
                let again = Segment::new(self.index.segments_dir(), whole.salt, true);
                for (entry, time) in again.scan(&*self.disk)?.entries {
                    if !known.contains(&entry.ordinal) {
                        let used = whole.used(entry.ordinal).max(time);
                        whole.write_entries(&*self.disk, &[(entry, used)])?;
                    }
                }
            }
            whole.sidecar(&*self.disk)?.sync()?;
            whole.write_sidecar_header(&*self.disk, true)
        };
        scan().map_err(failed)?;
        let temporary = self.temporary();
        let lock = self.disk.open(&self.dir.join("lock/tables"), Open::Create).map_err(failed)?;
        lock.lock().map_err(failed)?;
        // Others may have merged tables since.
        self.index.refresh().map_err(failed)?;
        self.index.write_table(segment, &temporary).map_err(failed)
    }

    /// Seals in the background where that is wanted, else now. A failure loses nothing: whoever opens the segment next
    /// seals it.
    fn seal_later(&self, segment: Arc<Segment>, file: Arc<dyn DiskFile>) {
        self.background(move |core| {
            if let Err(error) = core.seal(&segment, &*file) {
                tracing::warn!(%error, "a segment stays unsealed");
            }
        });
    }
}
