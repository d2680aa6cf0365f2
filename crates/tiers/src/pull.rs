//! Reading through.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use buildnet_cas::{CasError, Store};
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::EntryKey;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::error::{BackendError, Failure};
use crate::references::{References, distinct};
use crate::tier::Shared;

/// Blobs up to this size travel together, in memory. In bytes.
pub(crate) const SMALL: u64 = 1 << 20;
/// Bytes of blobs that travel together.
const TOGETHER: u64 = 3 << 20;
/// Blobs that travel together.
const COUNT: usize = 1000;
/// Blobs that are asked for at once.
const ASKED: usize = 1000;
/// How long a client that asks which blobs are missing waits for the far side.
const QUICK: Duration = Duration::from_secs(5);
/// Deepest directory that is followed.
const MAX_DEPTH: usize = 1000;

impl Shared {
    pub(crate) async fn pull_blob(&self, store: &Store, digest: &Digest) -> bool {
        if !self.allows(digest.function()) {
            return false;
        }
        let work = || async { self.settle(self.fetch(store, &[*digest]).await) };
        self.blobs.join(digest, work).await
    }

    /// Brings those of the blobs, all of one function, that the far side has. Whether any came.
    pub(crate) async fn pull_blobs(&self, store: &Store, digests: &[Digest]) -> bool {
        let (small, large): (Vec<Digest>, Vec<Digest>) = digests.iter().partition(|digest| digest.size() <= SMALL);
        let mut came = false;
        if let [first, _, ..] = small[..] {
            if !self.allows(first.function()) {
                return false;
            }
            let together = stream::iter(batches(&small)).map(|batch| self.fetch_batch(store, batch));
            let mut together = together.buffer_unordered(self.options.readers.max(1));
            while let Some(outcome) = together.next().await {
                // A batch that is not complete may have brought something.
                came |= outcome.is_ok();
                self.settle(outcome);
            }
        } else if let [only] = small[..] {
            came |= self.pull_blob(store, &only).await;
        }
        let alone = stream::iter(large).map(|digest| async move { self.pull_blob(store, &digest).await });
        let mut alone = alone.buffer_unordered(self.options.readers.max(1));
        while let Some(there) = alone.next().await {
            came |= there;
        }
        came
    }

    /// Brings what a result names. Whether all of it is here.
    pub(crate) async fn pull_parts(
        &self,
        store: &Store,
        function: DigestFunction,
        result: &reapi::ActionResult,
    ) -> bool {
        self.allows(function) && self.settle(self.bring_parts(store, function, result).await)
    }

    /// Positions of those of the blobs, all of one function, that the far side has not, or does not say in time to have.
    pub(crate) async fn absent(&self, digests: &[Digest]) -> Vec<usize> {
        let (start, all) = (Instant::now(), || (0..digests.len()).collect());
        let Some(first) = digests.first() else { return Vec::new() };
        if !self.allows(first.function()) {
            return all();
        }
        let known: Vec<Option<bool>> = digests.iter().map(|digest| self.seen.get(digest, start)).collect();
        let asked: Vec<Digest> =
            digests.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(digest, _)| *digest).collect();
        let mut there = HashSet::new();
        for part in asked.chunks(ASKED) {
            let asking = async {
                let _slot = self.lookups.acquire().await.map_err(|_| broken_off())?;
                self.call(self.backend.missing(part)).await
            };
            let answer = tokio::time::timeout(QUICK.saturating_sub(start.elapsed()), asking).await;
            // What is not known in time counts as missing: the client sends it.
            let answer = match answer {
                Err(_) if there.is_empty() => Err(BackendError::timeout(&self.backend.name(), QUICK.as_secs())),
                Err(_) => break,
                Ok(answer) => answer,
            };
            let missing: HashSet<Digest> = match answer {
                Ok(missing) => missing.into_iter().collect(),
                Err(error) => {
                    self.failed(error);
                    break;
                }
            };
            self.seen.note(part.iter().map(|digest| (*digest, !missing.contains(digest))), Instant::now());
            there.extend(part.iter().copied().filter(|digest| !missing.contains(digest)));
        }
        let is_there = |(digest, known): (&Digest, &Option<bool>)| known.unwrap_or_else(|| there.contains(digest));
        let answers = digests.iter().zip(&known).map(is_there).enumerate();
        answers.filter(|(_, there)| !there).map(|(position, _)| position).collect()
    }

    /// Whether the far side may be asked about digests of this function now.
    fn allows(&self, function: DigestFunction) -> bool {
        self.backend.supports(function) && self.breaker.allows(Instant::now())
    }

    pub(crate) async fn pull_result(&self, store: &Store, key: &EntryKey) -> bool {
        if self.forgotten.contains(&key.key) || !self.allows(key.key.function()) {
            return false;
        }
        let work = || async { self.settle(self.bring(store, key).await) };
        self.results.join(&key.key, work).await
    }

    fn settle(&self, outcome: Result<bool, BackendError>) -> bool {
        match outcome {
            Ok(true) => {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok(false) => {
                self.counters.misses.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(error) => {
                self.failed(error);
                false
            }
        }
    }

    /// Brings a result after its blobs. What came before it was found incomplete stays, and is evicted some time.
    async fn bring(&self, store: &Store, key: &EntryKey) -> Result<bool, BackendError> {
        let result = {
            let _slot = self.lookups.acquire().await.map_err(|_| broken_off())?;
            // Those that waited while it began to fail need not find out for themselves.
            if self.breaker.is_open() && !self.breaker.tries() {
                return Ok(false);
            }
            self.call(self.backend.result(key)).await?
        };
        let Some(result) = result else { return Ok(false) };
        if !self.bring_parts(store, key.key.function(), &result).await? || self.forgotten.contains(&key.key) {
            return Ok(false);
        }
        let (store, key) = (store.clone(), key.key);
        blocking(move || store.put_action_result(&key, &result)).await?;
        Ok(true)
    }

    /// Brings what a result names; false when something is not there.
    async fn bring_parts(
        &self,
        store: &Store,
        function: DigestFunction,
        result: &reapi::ActionResult,
    ) -> Result<bool, BackendError> {
        let mut references = References::of(function, result)?;
        let trees = distinct(std::mem::take(&mut references.trees));
        if !self.fetch(store, &trees).await? {
            return Ok(false);
        }
        for tree in trees {
            let Some(bytes) = read(store, tree).await? else { return Ok(false) };
            references.add_tree(function, &bytes)?;
        }
        if !self.fetch_directories(store, function, &mut references).await? {
            return Ok(false);
        }
        self.fetch(store, &distinct(references.blobs)).await
    }

    async fn fetch_directories(
        &self,
        store: &Store,
        function: DigestFunction,
        references: &mut References,
    ) -> Result<bool, BackendError> {
        let mut seen = HashSet::new();
        let mut level = distinct(std::mem::take(&mut references.directories));
        for _ in 0..MAX_DEPTH {
            if level.is_empty() {
                return Ok(true);
            }
            if !self.fetch(store, &level).await? {
                return Ok(false);
            }
            let mut deeper = Vec::new();
            for directory in level {
                let Some(bytes) = read(store, directory).await? else { return Ok(false) };
                deeper.extend(references.add_directory(function, &bytes)?);
            }
            level = distinct(deeper).into_iter().filter(|digest| seen.insert(*digest)).collect();
        }
        Err(BackendError::new(Failure::Refused, "a result names directories nested too deep"))
    }

    /// Brings those of the blobs, all of one function, that the store has not. False when one of them is not there.
    async fn fetch(&self, store: &Store, digests: &[Digest]) -> Result<bool, BackendError> {
        if digests.is_empty() {
            return Ok(true);
        }
        let missing = {
            let (store, digests) = (store.clone(), digests.to_vec());
            blocking(move || store.find_missing(&digests)).await?
        };
        let (small, large): (Vec<Digest>, Vec<Digest>) = missing.into_iter().partition(|digest| digest.size() <= SMALL);
        let together = batches(&small);
        let together = stream::iter(together).map(|batch| self.fetch_batch(store, batch));
        let complete = together.buffer_unordered(self.options.readers.max(1));
        let complete = complete.try_fold(true, |all, one| async move { Ok(all && one) }).await?;
        if !complete {
            return Ok(false);
        }
        let alone = stream::iter(large).map(|digest| async move { self.fetch_large(store, digest).await });
        let alone = alone.buffer_unordered(self.options.readers.max(1));
        alone.try_fold(true, |all, one| async move { Ok(all && one) }).await
    }

    async fn fetch_batch(&self, store: &Store, digests: Vec<Digest>) -> Result<bool, BackendError> {
        let _slot = self.slot().await?;
        let blobs = self.call(self.backend.read(&digests)).await?;
        let complete = blobs.len() == digests.len();
        if !complete {
            let came: HashSet<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
            let absent = digests.iter().filter(|digest| !came.contains(digest));
            self.seen.note(absent.map(|digest| (*digest, false)), Instant::now());
        }
        let bytes = blobs.iter().map(|(digest, _)| digest.size()).sum();
        let store = store.clone();
        let stored = blocking(move || {
            let outcomes = store.put_batch(&blobs);
            Ok(blobs.into_iter().map(|(digest, _)| digest).zip(outcomes).collect::<Vec<_>>())
        });
        for (digest, outcome) in stored.await? {
            self.stored(&digest, outcome).await?;
        }
        self.counters.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(complete)
    }

    /// Brings a large blob piece by piece; what comes is verified before it becomes part of the store.
    async fn fetch_large(&self, store: &Store, digest: Digest) -> Result<bool, BackendError> {
        let _slot = self.slot().await?;
        let (sender, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(4);
        let reading = self.backend.read_pieces(&digest, sender);
        let mut writer = {
            let store = store.clone();
            Some(blocking(move || store.writer(digest)).await?)
        };
        let writing = async {
            loop {
                let piece = tokio::time::timeout(self.options.patience, pieces.recv()).await;
                let Some(piece) = piece.map_err(|_| self.too_slow())? else { break };
                let Some(mut taken) = writer.take() else { break };
                let written = tokio::task::spawn_blocking(move || {
                    let written = taken.write_all(&piece);
                    (taken, written)
                });
                let (taken, written) = written.await.map_err(|_| broken_off())?;
                written.map_err(|error| match error.kind() {
                    std::io::ErrorKind::InvalidInput => BackendError::new(Failure::Damaged, error.to_string()),
                    _ => BackendError::new(Failure::Local, error.to_string()),
                })?;
                writer = Some(taken);
            }
            Ok::<_, BackendError>(())
        };
        let (there, ()) = futures::future::try_join(reading, writing).await?;
        let Some(writer) = writer.filter(|_| there) else {
            self.seen.note([(digest, false)], Instant::now());
            return Ok(false);
        };
        let committed = blocking(move || Ok(writer.commit())).await?;
        self.stored(&digest, committed).await?;
        self.counters.read_bytes.fetch_add(digest.size(), Ordering::Relaxed);
        Ok(true)
    }

    /// What came of storing a blob. One that is not what its digest says is taken away over there, so that it can be written anew.
    async fn stored(&self, digest: &Digest, outcome: Result<(), CasError>) -> Result<(), BackendError> {
        let Err(error) = outcome else { return Ok(()) };
        if matches!(error, CasError::Mismatch { .. }) {
            // Best effort: it is found again the next time.
            let _ = self.call(self.backend.discard(digest)).await;
            let message = format!("{} has other content for {digest}", self.backend.name());
            return Err(BackendError::new(Failure::Damaged, message)
                .with_hint("the server or the way to it damages content; nothing of it was used"));
        }
        Err(error.into())
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, BackendError> {
        self.transfers.acquire().await.map_err(|_| broken_off())
    }
}

/// Blobs in batches that fit into memory.
pub(crate) fn batches(digests: &[Digest]) -> Vec<Vec<Digest>> {
    let mut batches: Vec<Vec<Digest>> = Vec::new();
    let mut room = 0;
    for digest in digests {
        match batches.last_mut() {
            Some(batch) if digest.size() <= room && batch.len() < COUNT => batch.push(*digest),
            _ => {
                batches.push(vec![*digest]);
                room = TOGETHER;
            }
        }
        room = room.saturating_sub(digest.size());
    }
    batches
}

async fn read(store: &Store, digest: Digest) -> Result<Option<Bytes>, BackendError> {
    let store = store.clone();
    blocking(move || store.read(&digest)).await
}

/// Work on the store's disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CasError> + Send + 'static,
) -> Result<T, BackendError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| broken_off())??)
}

pub(crate) fn broken_off() -> BackendError {
    BackendError::new(Failure::Local, "the process is ending")
}
