//! The store's handle.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;

use crate::blob::{BlobReader, BlobWriter};
use crate::cached::Cached;
use crate::core::{Core, Tuning};
use crate::disk::RealDisk;
use crate::error::CasError;
use crate::evict::Goal;
use crate::lease::Lease;
use crate::note;
use crate::options::{Durability, GcReport, Sharing, StoreOptions, StoreStats, VerifyReport};
use crate::record::{Key, MAX_STORED, PACK_LIMIT, REMOVED, Record};

/// A content-addressable store with its action cache, in one directory. Cheap to clone; safe to use from many threads,
/// and by many processes on one directory. Calls block on the disk, but for lookups of what was used lately.
#[derive(Clone, Debug)]
pub struct Store {
    core: Arc<Core>,
    durability: Durability,
}

impl Store {
    /// Opens the store in `dir`, which is created when missing, in a time that does not depend on what it holds. The
    /// index is read at the first use.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, CasError> {
        let (tuning, durability) = (Tuning::of(&options), options.durability);
        Ok(Self { core: Core::open(dir, options, Arc::new(RealDisk::new()), tuning)?, durability })
    }

    /// Over another disk, with all work done in the calling thread and small segments.
    #[cfg(test)]
    pub(crate) fn open_on(disk: Arc<dyn crate::disk::Disk>, options: StoreOptions) -> Result<Self, CasError> {
        let tuning = Tuning { threads: false, segment_bytes: 64 << 10 };
        let durability = options.durability;
        Ok(Self { core: Core::open(Path::new("/cache"), options, disk, tuning)?, durability })
    }

    /// A handle on the same store, with its index and its file of records, whose writes are acknowledged otherwise.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Self {
        Self { core: Arc::clone(&self.core), durability }
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.core.dir
    }

    /// Reads the index now, so that the first use need not.
    pub fn load(&self) -> Result<(), CasError> {
        self.core.index.view().map(drop).map_err(|error| self.core.index_failed(error))
    }

    /// Stores bytes and returns their digest.
    pub fn put_bytes(&self, function: DigestFunction, bytes: &[u8]) -> Result<Digest, CasError> {
        let digest = function.digest(bytes);
        self.core.counters.written.fetch_add(digest.size(), Ordering::Relaxed);
        self.core.put_verified(&[(digest, Bytes::copy_from_slice(bytes))], self.durability)?;
        Ok(digest)
    }

    /// Stores bytes whose digest is known; other bytes are a [`CasError::Mismatch`].
    pub fn put_expected(&self, digest: &Digest, bytes: &[u8]) -> Result<(), CasError> {
        verify(digest, bytes)?;
        self.core.counters.written.fetch_add(digest.size(), Ordering::Relaxed);
        self.core.put_verified(&[(*digest, Bytes::copy_from_slice(bytes))], self.durability)
    }

    /// Stores many blobs with one group commit; a result per item, in their order. A failure to write concerns all
    /// items that were not refused for their content.
    pub fn put_batch(&self, items: &[(Digest, Bytes)]) -> Vec<Result<(), CasError>> {
        let mut results: Vec<Result<(), CasError>> =
            items.iter().map(|(digest, bytes)| verify(digest, bytes)).collect();
        let good: Vec<(Digest, Bytes)> =
            items.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(item, _)| item.clone()).collect();
        let written = good.iter().map(|(digest, _)| digest.size()).sum();
        self.core.counters.written.fetch_add(written, Ordering::Relaxed);
        if let Err(error) = self.core.put_verified(&good, self.durability) {
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(error.duplicate());
            }
        }
        results
    }

    /// Stores many small blobs without waiting: `done` is called with a result per item, in their order, when they are as
    /// durable as the store promises, in the thread that commits for all callers. It must not block. Gives `done` back,
    /// and stores nothing, when more than that is to be done: for [`Self::put_batch`].
    pub fn submit_batch<F>(&self, items: &[(Digest, Bytes)], done: F) -> Result<(), F>
    where
        F: FnOnce(Vec<Result<(), CasError>>) + Send + 'static,
    {
        let mut results: Vec<Result<(), CasError>> =
            items.iter().map(|(digest, bytes)| verify(digest, bytes)).collect();
        let good: Vec<(Digest, Bytes)> =
            items.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(item, _)| item.clone()).collect();
        let written = good.iter().map(|(digest, _)| digest.size()).sum();
        let Some(records) = self.core.records_of(&good, self.durability) else { return Err(done) };
        self.core.submit(
            records,
            self.durability,
            Box::new(move |outcome| {
                if let Err(error) = outcome {
                    for result in results.iter_mut().filter(|result| result.is_ok()) {
                        *result = Err(error.duplicate());
                    }
                }
                done(results);
            }),
        );
        self.core.counters.written.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Stores the content of a file and returns its digest: of what was stored, whatever happens to the file. A file
    /// that changed meanwhile is a [`CasError::Changed`].
    pub fn put_file(&self, function: DigestFunction, path: &Path) -> Result<Digest, CasError> {
        self.core.put_file(function, path, self.durability)
    }

    /// Starts to take a blob in pieces.
    pub fn writer(&self, expected: Digest) -> Result<BlobWriter, CasError> {
        self.core.writable()?;
        BlobWriter::new(Arc::clone(&self.core), expected, self.durability)
    }

    /// The whole blob, verified; `None` when it is not there or was found corrupted.
    pub fn read(&self, digest: &Digest) -> Result<Option<Bytes>, CasError> {
        let found = self.core.read(digest)?;
        self.count(found.is_some());
        self.core.counters.read.fetch_add(found.as_ref().map_or(0, |bytes| bytes.len() as u64), Ordering::Relaxed);
        Ok(found)
    }

    /// A small blob, verified, if it is to be had from memory: `None` says nothing about the store.
    pub fn read_cached(&self, digest: &Digest) -> Option<Bytes> {
        let found = self.core.read_cached(digest)?;
        self.count(true);
        self.core.counters.read.fetch_add(found.len() as u64, Ordering::Relaxed);
        Some(found)
    }

    /// A reader of the blob; `None` when it is not there. An eviction does not disturb a reader.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, CasError> {
        let reader = if digest.size() <= PACK_LIMIT {
            self.core.read(digest)?.map(BlobReader::packed)
        } else {
            let opened = self.core.open_large(digest)?;
            opened.map(|(reader, found)| BlobReader::large(Arc::clone(&self.core), *digest, reader, found))
        };
        self.count(reader.is_some());
        Ok(reader)
    }

    /// Whether the blob is there; it then counts as used now.
    pub fn contains(&self, digest: &Digest) -> Result<bool, CasError> {
        let found = self.core.missing(std::iter::once(Key::blob(digest)))?.is_empty();
        self.count(found);
        Ok(found)
    }

    /// The digest of the blob with this hash (binary, of the function's length), for protocols that do not tell sizes;
    /// `None` when no blob has it. The blob then counts as used now.
    pub fn find_by_hash(&self, function: DigestFunction, hash: &[u8]) -> Result<Option<Digest>, CasError> {
        let empty = Digest::empty(function);
        if hash.len() != function.hash_len() || hash == empty.hash() {
            return Ok((hash == empty.hash()).then_some(empty));
        }
        let found = self.core.find_by_hash(function, hash)?;
        self.count(found.is_some());
        Ok(found)
    }

    /// Those of the digests whose blobs are not there, in their order. The others count as used now.
    pub fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, CasError> {
        Ok(self.find_missing_at(digests)?.into_iter().map(|position| digests[position]).collect())
    }

    /// The same as positions among the digests.
    pub fn find_missing_at(&self, digests: &[Digest]) -> Result<Vec<usize>, CasError> {
        let missing = self.core.missing(digests.iter().map(Key::blob))?;
        self.count_missing(digests.len(), missing.len());
        Ok(missing)
    }

    /// As [`Self::find_missing_at`], if that is to be had from memory; the digests are taken one by one, as they are read.
    pub fn find_missing_at_cached(&self, digests: impl IntoIterator<Item = Digest>) -> Option<Vec<usize>> {
        let mut asked = 0;
        let missing = self.core.missing_cached(digests.into_iter().inspect(|_| asked += 1))?;
        self.count_missing(asked, missing.len());
        Some(missing)
    }

    fn count_missing(&self, asked: usize, missing: usize) {
        self.core.counters.misses.fetch_add(missing as u64, Ordering::Relaxed);
        self.core.counters.hits.fetch_add((asked - missing) as u64, Ordering::Relaxed);
    }

    /// Makes the blob a file at `to`, replacing what is there, in one step; false when the blob is not in the store.
    /// The file's directory must exist. Files for [`Sharing::ReadOnly`] have no write permission.
    pub fn place(&self, digest: &Digest, to: &Path, executable: bool, sharing: Sharing) -> Result<bool, CasError> {
        let placed = self.core.place(digest, to, executable, sharing)?;
        self.count(placed);
        Ok(placed)
    }

    /// The latest result of an action, when every blob that it names is there, the files of its trees included; they
    /// all count as used now.
    pub fn action_result(&self, action: &Digest) -> Result<Option<reapi::ActionResult>, CasError> {
        self.core.action_result(action)
    }

    /// As [`Self::action_result`], if that is to be had from memory.
    pub fn action_result_cached(&self, action: &Digest) -> Cached<reapi::ActionResult> {
        self.core.action_result_cached(action)
    }

    /// Stores the result of an action, in place of an older one. The blobs that it names should be stored before.
    pub fn put_action_result(&self, action: &Digest, result: &reapi::ActionResult) -> Result<(), CasError> {
        self.put_noted_result(action, result, &[])
    }

    /// As [`Self::put_action_result`], with a note that [`Self::notes`] gives back for as long as this is the action's result.
    pub fn put_noted_result(&self, action: &Digest, result: &reapi::ActionResult, note: &[u8]) -> Result<(), CasError> {
        self.core.put_action(action, self.encode(action, result, note)?, 0, self.durability)
    }

    /// As [`Self::put_noted_result`], without waiting: `done` is called in the thread that commits for all callers, and must not block.
    pub fn submit_action_result<F>(&self, action: &Digest, result: &reapi::ActionResult, note: &[u8], done: F)
    where
        F: FnOnce(Result<(), CasError>) + Send + 'static,
    {
        match self.core.writable().and_then(|()| self.encode(action, result, note)) {
            Ok(bytes) => {
                let record = Record::of_action(*action, bytes, 0, self.core.now());
                self.core.submit(vec![record], self.durability, Box::new(done));
            }
            Err(error) => done(Err(error)),
        }
    }

    fn encode(&self, action: &Digest, result: &reapi::ActionResult, note: &[u8]) -> Result<Bytes, CasError> {
        let bytes = note::encode(result, note);
        if bytes.len() > MAX_STORED as usize / 2 {
            let source = std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                format!("the result of action {action} takes {} bytes", bytes.len()),
            );
            return Err(CasError::io("store an action result in", &self.core.dir, source));
        }
        Ok(bytes.into())
    }

    /// Forgets the result of an action; false when there was none.
    pub fn remove_action_result(&self, action: &Digest) -> Result<bool, CasError> {
        if self.core.newest_result(action)?.is_none() {
            return Ok(false);
        }
        self.core.put_action(action, Bytes::new(), REMOVED, self.durability)?;
        Ok(true)
    }

    /// Calls `act` with the digest of every action whose result has a note, and the note. Reads all results.
    pub fn notes(&self, act: &mut dyn FnMut(&Digest, Bytes)) -> Result<(), CasError> {
        self.core.notes(act)
    }

    /// While the lease lives, nothing that is put, read, placed or found through this handle or its clones is evicted,
    /// by any process. A dead process's lease lapses.
    pub fn lease(&self) -> Result<Lease, CasError> {
        Lease::take(&self.core)
    }

    /// Counts what is in the store, by reading its index.
    pub fn stats(&self) -> Result<StoreStats, CasError> {
        self.core.stats()
    }

    /// The digests of all blobs, and of all actions that have a result. Reads everything that is packed: for exports.
    pub fn digests(&self) -> Result<(Vec<Digest>, Vec<Digest>), CasError> {
        let (mut blobs, mut actions) = (Vec::new(), Vec::new());
        self.core.digests(&mut |digest, is_action| {
            let list = if is_action { &mut actions } else { &mut blobs };
            list.push(*digest);
        })?;
        Ok((blobs, actions))
    }

    /// Evicts the least recently used entries until at most `target` bytes (the store's bound when `None`) are on disk,
    /// and all that were not used for `max_age`. Spares what leases and the grace period hold.
    pub fn gc(&self, target: Option<u64>, max_age: Option<Duration>) -> Result<GcReport, CasError> {
        let target = target.unwrap_or(self.core.options.max_bytes);
        self.core.collect(Goal { target, max_age, everything: false, thorough: true })
    }

    /// Reads every blob and compares it with its digest; corrupted ones are removed. `progress` is called with the bytes
    /// done and the bytes in all.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, CasError> {
        self.core.verify(progress)
    }

    /// Removes everything that no lease holds, the grace period notwithstanding.
    pub fn clear(&self) -> Result<GcReport, CasError> {
        self.core.collect(Goal { target: 0, max_age: None, everything: true, thorough: true })
    }

    fn count(&self, hit: bool) {
        let counter = if hit { &self.core.counters.hits } else { &self.core.counters.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn verify(digest: &Digest, bytes: &[u8]) -> Result<(), CasError> {
    let actual = digest.function().digest(bytes);
    if actual == *digest { Ok(()) } else { Err(CasError::mismatch(*digest, actual)) }
}
