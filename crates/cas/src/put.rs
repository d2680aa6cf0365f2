//! Storing blobs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;

use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;

use crate::core::Core;
use crate::error::CasError;
use crate::large::{BLOCK, LargeWriter};
use crate::lookup::shrink;
use crate::options::Durability;
use crate::record::{Codec, Entry, Key, Kind, PACK_LIMIT, Record, SYNCED};
use crate::segment::Segment;

/// Whether a blob is stored, as far as memory tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is, and as durably as the store promises.
    Already,
    /// This process knows nothing of it, or not that it is durable.
    Not,
    /// It has to be looked at, or is large.
    Unclear,
}

impl Record {
    /// A small blob's, whose digest was verified.
    pub(crate) fn of_blob(digest: Digest, bytes: Bytes, used: u32) -> Self {
        let (codec, payload) = shrink(bytes);
        let check = crc32fast::hash(&payload);
        Self { digest, kind: Kind::Blob, codec, flags: 0, payload, check, used, time: 0 }
    }

    /// An action result's, or the notice that it was removed.
    pub(crate) fn of_action(action: Digest, bytes: Bytes, flags: u8, used: u32) -> Self {
        let (codec, payload) = if flags == 0 { shrink(bytes) } else { (Codec::Raw, bytes) };
        let check = crc32fast::hash(&payload);
        Self { digest: action, kind: Kind::Action, codec, flags, payload, check, used, time: 0 }
    }
}

impl Core {
    /// Stores blobs whose digests the caller has verified, with one group commit.
    pub(crate) fn put_verified(&self, items: &[(Digest, Bytes)], durability: Durability) -> Result<(), CasError> {
        self.writable()?;
        let used = self.now();
        let mut records = Vec::with_capacity(items.len());
        for (digest, bytes) in items.iter().filter(|(digest, _)| digest.size() > 0) {
            if self.has(digest, durability)? {
                continue;
            }
            if digest.size() > PACK_LIMIT {
                let mut writer = LargeWriter::new(&self.arc(), durability)?;
                writer.write(bytes).map_err(|error| CasError::io("write", &self.dir, error))?;
                writer.commit(digest)?;
                continue;
            }
            records.push(Record::of_blob(*digest, bytes.clone(), used));
        }
        self.commit(&records, durability)?;
        self.wrote(records.iter().map(Record::length).sum());
        Ok(())
    }

    /// Stores an action result or the notice that it is removed.
    pub(crate) fn put_action(
        &self,
        action: &Digest,
        bytes: Bytes,
        flags: u8,
        durability: Durability,
    ) -> Result<(), CasError> {
        self.writable()?;
        let record = Record::of_action(*action, bytes, flags, self.now());
        let length = record.length();
        self.commit(&[record], durability)?;
        self.wrote(length);
        Ok(())
    }

    /// Whether the blob is there so durably, as far as memory tells.
    pub(crate) fn stored_cached(&self, digest: &Digest, durability: Durability) -> Stored {
        let fresh = self.freshness();
        let Some(view) = self.index.loaded().filter(|_| digest.size() <= PACK_LIMIT) else { return Stored::Unclear };
        match view.find(&Key::blob(digest)) {
            Some((segment, entry)) if !fresh.holds(segment, entry.ordinal) => Stored::Unclear,
            Some((segment, entry)) if is_durable(segment, &entry, durability) => Stored::Already,
            _ => Stored::Not,
        }
    }

    /// Whether the blob is there so durably; it then counts as used now.
    pub(crate) fn has(&self, digest: &Digest, durability: Durability) -> Result<bool, CasError> {
        let Some(found) = self.locate_known(&Key::blob(digest))? else { return Ok(false) };
        Ok(is_durable(&found.segment, &found.entry, durability))
    }

    /// Stores a file's content.
    pub(crate) fn put_file(
        &self,
        function: DigestFunction,
        path: &Path,
        durability: Durability,
    ) -> Result<Digest, CasError> {
        self.writable()?;
        let failed = |error| CasError::io("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let digest = if before.len() <= PACK_LIMIT {
            // One byte more than expected shows a file that grew.
            let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
            Read::by_ref(&mut file).take(PACK_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
            let digest = function.digest(&bytes);
            if digest.size() != before.len() {
                return Err(CasError::Changed { path: path.to_owned() });
            }
            self.put_verified(&[(digest, bytes.into())], durability)?;
            digest
        } else {
            self.copy_in(function, path, &mut file, durability)?
        };
        // The stored content is what its digest says in any case; but it may be half old and half new.
        let after = file.metadata().map_err(failed)?;
        if after.len() != before.len() || after.modified().ok() != before.modified().ok() {
            return Err(CasError::Changed { path: path.to_owned() });
        }
        self.counters.written.fetch_add(digest.size(), Ordering::Relaxed);
        Ok(digest)
    }

    fn copy_in(
        &self,
        function: DigestFunction,
        path: &Path,
        file: &mut File,
        durability: Durability,
    ) -> Result<Digest, CasError> {
        let mut writer = LargeWriter::new(&self.arc(), durability)?;
        let mut hasher = function.hasher();
        let mut buffer = vec![0; BLOCK];
        loop {
            let length = file.read(&mut buffer).map_err(|error| CasError::io("read", path, error))?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            writer.write(&buffer[..length]).map_err(|error| CasError::io("write", &self.dir, error))?;
        }
        let digest = hasher.finish();
        if digest.size() <= PACK_LIMIT {
            return Err(CasError::Changed { path: path.to_owned() });
        }
        if !self.has(&digest, durability)? {
            writer.commit(&digest)?;
        }
        Ok(digest)
    }

    /// Counts bytes that went to disk, and starts eviction when the bound is reached.
    pub(crate) fn wrote(&self, bytes: u64) {
        let unchecked = self.unchecked.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unchecked >= self.options.max_bytes / 64 {
            self.unchecked.store(0, Ordering::Relaxed);
            self.check_size();
        }
    }
}

fn is_durable(segment: &Segment, entry: &Entry, durability: Durability) -> bool {
    durability == Durability::Relaxed
        || segment.durable.load(Ordering::Acquire) >= entry.end()
            && (entry.key.kind != Kind::Large || entry.flags & SYNCED != 0)
}
