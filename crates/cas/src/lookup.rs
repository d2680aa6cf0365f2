//! Finding records, and marking them as used.

use std::io;
use std::sync::atomic::Ordering;

use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;

use crate::core::Core;
use crate::disk::Wait;
use crate::error::CasError;
use crate::index::Located;
use crate::large;
use crate::record::{Codec, HEADER_MAX, Header, Key, Kind, MAX_STORED, PACK_LIMIT, start_of};
use crate::segment::{DEAD, Segment};

/// When a recorded use is recent enough not to be recorded again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    now: u32,
    after: u32,
    /// A store that writes nothing records no uses, and misses none.
    always: bool,
}

impl Freshness {
    pub(crate) fn holds(self, segment: &Segment, ordinal: u32) -> bool {
        let used = segment.used(ordinal);
        used >= self.after || self.always && used > 0
    }
}

impl Core {
    /// Eviction spares what was used within the grace period, and what was used since the start of a living lease: so a
    /// use within half the grace period and since the newest lease is as good as one now.
    pub(crate) fn freshness(&self) -> Freshness {
        let now = self.now();
        let grace = u32::try_from(self.options.grace.as_secs()).unwrap_or(u32::MAX);
        let lease = u32::try_from(self.newest_lease.load(Ordering::Acquire)).unwrap_or(u32::MAX);
        Freshness { now, after: (now.saturating_sub(grace / 2) + 1).max(lease), always: self.options.read_only }
    }

    /// The keys among `keys` that are not in the store; the others count as used now.
    pub(crate) fn missing(&self, keys: impl Iterator<Item = Key>) -> Result<Vec<usize>, CasError> {
        let fresh = self.freshness();
        let mut doubtful = Vec::new();
        let view = self.index.view().map_err(|error| self.index_failed(error))?;
        for (position, key) in keys.enumerate().filter(|(_, key)| key.size > 0) {
            let known = view.find(&key).is_some_and(|(segment, entry)| fresh.holds(segment, entry.ordinal));
            if !known {
                doubtful.push((position, key));
            }
        }
        drop(view);
        if doubtful.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Key> = doubtful.iter().map(|(_, key)| *key).collect();
        let located = self.locate(&keys)?;
        Ok(doubtful
            .iter()
            .zip(located)
            .filter_map(|((position, _), found)| found.is_none().then_some(*position))
            .collect())
    }

    /// The digest of the blob with this hash, marked as used now.
    pub(crate) fn find_by_hash(&self, function: DigestFunction, hash: &[u8]) -> Result<Option<Digest>, CasError> {
        let failed = |error| self.index_failed(error);
        let start = start_of(hash);
        let mut sizes = self.index.view().map_err(failed)?.sizes(function as u8, &start);
        if sizes.is_empty() {
            self.index.refresh().map_err(failed)?;
            sizes = self.index.view().map_err(failed)?.sizes(function as u8, &start);
        }
        for size in sizes {
            let digest = Digest::new(function, hash, size);
            if self.locate(&[Key::blob(&digest)])?[0].is_some() {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    /// The record of each key, marked as used now.
    pub(crate) fn locate(&self, keys: &[Key]) -> Result<Vec<Option<Located>>, CasError> {
        let failed = |error| self.index_failed(error);
        let fresh = self.freshness();
        let view = self.index.view().map_err(failed)?;
        let found = |key: &Key| {
            let (segment, entry) = view.find(key)?;
            fresh.holds(segment, entry.ordinal).then(|| Located { segment: segment.clone(), entry })
        };
        let mut located: Vec<Option<Located>> = keys.iter().map(found).collect();
        drop(view);
        if located.iter().all(Option::is_some) {
            return Ok(located);
        }

        // What is not known or not lately used: under the lock that keeps eviction away, with what others have done.
        let _guard = self.eviction.shared().map_err(failed)?;
        self.index.refresh().map_err(failed)?;
        let view = self.index.view().map_err(failed)?;
        for (key, place) in keys.iter().zip(&mut located).filter(|(_, place)| place.is_none()) {
            // What turns out to be removed is not found again, so that a copy of it is.
            while let Some((segment, entry)) = view.find(key) {
                let found = Located { segment: segment.clone(), entry };
                if fresh.holds(segment, entry.ordinal) || self.mark_used(&found, fresh.now) {
                    *place = Some(found);
                    break;
                }
            }
        }
        Ok(located)
    }

    /// The record of one key if this process knows it, marked as used now. Does not look for what others have done.
    pub(crate) fn locate_known(&self, key: &Key) -> Result<Option<Located>, CasError> {
        let known = self.index.view().map_err(|error| self.index_failed(error))?.find(key).is_some();
        if !known {
            return Ok(None);
        }
        Ok(self.locate(std::slice::from_ref(key))?.pop().flatten())
    }

    /// False when the record was removed, or its file is gone.
    fn mark_used(&self, found: &Located, now: u32) -> bool {
        let (segment, ordinal) = (&found.segment, found.entry.ordinal);
        // Of records in tables it is not known yet.
        if segment.used(ordinal) == 0 && segment.recorded_use(&*self.disk, ordinal).is_ok_and(|used| used == DEAD) {
            segment.remember_used(ordinal, DEAD);
            return false;
        }
        if found.entry.key.kind == Kind::Large {
            let size = self.disk.size(&large::path_of(self, found));
            if size.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                segment.remember_used(ordinal, DEAD);
                return false;
            }
        }
        if self.options.read_only {
            segment.remember_used(ordinal, now);
        } else if let Err(error) = segment.touch(&*self.disk, ordinal, now) {
            tracing::debug!(%error, "cannot record a use");
        }
        true
    }

    /// Treats a record as missing from now on, in every process that opens the store later.
    pub(crate) fn condemn(&self, found: &Located, digest: &Digest) {
        self.count_corrupted();
        tracing::warn!(%digest, segment = %found.segment.path().display(), "a corrupted cache entry is dropped");
        found.segment.remember_used(found.entry.ordinal, DEAD);
        if !self.options.read_only {
            let _ = found.segment.touch(&*self.disk, found.entry.ordinal, DEAD);
            if found.entry.key.kind == Kind::Large {
                let _ = self.disk.remove(&large::path_of(self, found));
            }
        }
    }

    /// A whole blob, verified; `None` when it is not there. Corrupted ones are dropped.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Bytes>, CasError> {
        if digest.size() == 0 {
            return Ok((digest.function().digest(&[]) == *digest).then(Bytes::new));
        }
        if digest.size() <= PACK_LIMIT {
            return self.read_packed(digest);
        }
        let Some((reader, found)) = self.open_large(digest)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(digest.size()).unwrap_or(0));
        for index in 0..reader.count() {
            match reader.block(index) {
                Ok(block) => bytes.extend_from_slice(&block),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => break,
                Err(error) => return Err(CasError::io("read", &large::path_of(self, &found), error)),
            }
        }
        if digest.function().digest(&bytes) != *digest {
            self.condemn(&found, digest);
            return Ok(None);
        }
        Ok(Some(bytes.into()))
    }

    /// A whole packed blob, verified by the checksums that its record got when its digest was; `None` when it is not there. Corrupted ones are dropped.
    pub(crate) fn read_packed(&self, digest: &Digest) -> Result<Option<Bytes>, CasError> {
        let key = Key::blob(digest);
        // Another copy may be found after a corrupted one, and a moved one after an eviction.
        for _ in 0..4 {
            let Some(found) = self.locate(&[key])?.pop().flatten() else { return Ok(None) };
            match self.record(&found) {
                // One whose hash begins in the same way.
                Ok(Some((header, _))) if header.digest != *digest => return Ok(None),
                Ok(record) => match record.and_then(|(_, bytes)| expand(found.entry.codec, bytes, digest.size())) {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.condemn(&found, digest),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.index.forget_segment(found.segment.salt);
                }
                Err(error) => return Err(CasError::io("read", found.segment.path(), error)),
            }
        }
        Ok(None)
    }

    /// A whole record, checked against its checksums; `Ok(None)` when it is damaged. The index knows the start of a hash: whether
    /// the record is the one that was asked for, its digest tells.
    pub(crate) fn record(&self, found: &Located) -> io::Result<Option<(Header, Bytes)>> {
        self.record_by(found, Wait::Yes)
    }

    /// As [`Self::record`], without waiting for the disk if so wished.
    pub(crate) fn record_by(&self, found: &Located, wait: Wait) -> io::Result<Option<(Header, Bytes)>> {
        let length =
            found.entry.payload() - u64::from(found.entry.offset) + u64::from(found.entry.stored.min(MAX_STORED));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = found.segment.file(&*self.disk)?.read_by(&mut bytes, u64::from(found.entry.offset), wait)?;
        bytes.truncate(read);
        let offset = u64::from(found.entry.offset);
        let Some(header) = Header::decode(&bytes[..read.min(HEADER_MAX)], found.segment.salt, offset) else {
            return Ok(None);
        };
        let start = usize::try_from(header.entry.payload() - offset).unwrap_or(usize::MAX);
        let bytes = Bytes::from(bytes);
        let whole = start + header.entry.stored as usize == bytes.len()
            && header.entry.key.kind == found.entry.key.kind
            && crc32fast::hash(&bytes[start..]) == header.check;
        Ok(whole.then(|| (header, bytes.slice(start..))))
    }

    pub(crate) fn index_failed(&self, error: io::Error) -> CasError {
        CasError::io("read the index of the cache in", &self.dir, error)
    }
}

/// Shrinks a payload where that saves an eighth. LZ4: it costs less than the digest does.
pub(crate) fn shrink(bytes: Bytes) -> (Codec, Bytes) {
    if bytes.len() >= 256 {
        let compressed = lz4_flex::block::compress_prepend_size(&bytes);
        if compressed.len() <= bytes.len() - bytes.len() / 8 {
            return (Codec::Lz4, compressed.into());
        }
    }
    (Codec::Raw, bytes)
}

/// Undoes [`shrink`], for a blob of `size` bytes.
pub(crate) fn expand(codec: Codec, bytes: Bytes, size: u64) -> Option<Bytes> {
    expand_within(codec, bytes, size).filter(|bytes| bytes.len() as u64 == size)
}

/// Undoes [`shrink`], for a result of at most `limit` bytes.
pub(crate) fn expand_within(codec: Codec, bytes: Bytes, limit: u64) -> Option<Bytes> {
    match codec {
        Codec::Raw => Some(bytes),
        Codec::Lz4 => {
            let size = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
            (u64::from(size) <= limit).then_some(())?;
            Some(lz4_flex::block::decompress_size_prepended(&bytes).ok()?.into())
        }
        Codec::ZstdBlocks => None,
    }
}
