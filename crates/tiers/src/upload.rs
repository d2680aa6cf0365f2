//! Writing back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use buildnet_cas::Store;
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use crate::error::{BackendError, Failure};
use crate::pull::{SMALL, batches, blocking};
use crate::queue::Item;
use crate::references::{References, distinct};
use crate::tier::{Shared, Trouble};

/// Bytes read from the store at once.
const PIECE: usize = 256 << 10;
/// Deepest directory that is followed.
const MAX_DEPTH: usize = 1000;

/// Writes what waits, one result after the other.
pub(crate) async fn work(shared: Arc<Shared>) {
    loop {
        let item = shared.queue.next().await;
        shared.write_back(&item).await;
        shared.queue.finished(&item);
    }
}

impl Shared {
    async fn write_back(&self, item: &Item) {
        let mut backoff = self.options.backoff;
        let mut attempt = 0;
        let since = self.forgotten.now();
        loop {
            if self.read_only.load(Ordering::Relaxed) {
                return self.give_up(1);
            }
            if !self.breaker.allows(Instant::now()) {
                if !self.options.patient || self.breaker.is_final() {
                    return self.give_up(1 + self.queue.clear());
                }
                tokio::time::sleep(self.breaker.wait(Instant::now()).max(self.options.backoff)).await;
                continue;
            }
            attempt += 1;
            let error = match self.publish(item).await {
                Ok(Some(bytes)) => {
                    self.counters.written.fetch_add(1, Ordering::Relaxed);
                    self.counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
                    self.forgotten.written(&item.key.key, since);
                    return;
                }
                // Evicted, or removed, in the meantime.
                Ok(None) => return self.give_up(1),
                Err(error) => error,
            };
            match error.failure {
                Failure::Denied => {
                    if !self.read_only.swap(true, Ordering::Relaxed) {
                        self.report(Trouble::ReadOnly(error));
                    }
                    return self.give_up(1 + self.queue.clear());
                }
                Failure::Refused | Failure::Local => {
                    self.report(Trouble::GivenUp(error));
                    return self.give_up(1);
                }
                Failure::Unreachable | Failure::Damaged => {}
            }
            self.failed(error.clone());
            if attempt >= self.options.attempts {
                self.report(Trouble::GivenUp(error));
                return self.give_up(1);
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(std::time::Duration::from_secs(30));
        }
    }

    fn give_up(&self, count: u64) {
        self.counters.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Writes a result after its blobs; none when the store has it no more. Returns the bytes of blobs that were sent.
    async fn publish(&self, item: &Item) -> Result<Option<u64>, BackendError> {
        if !self.call(self.backend.writable()).await? {
            let message = format!("{} takes nothing from this client", self.backend.name());
            return Err(BackendError::new(Failure::Denied, message));
        }
        let function = item.key.key.function();
        let gathered = {
            let item = item.clone();
            tokio::task::spawn_blocking(move || gather(&item, function))
        };
        let gathered = gathered.await.map_err(|_| crate::pull::broken_off())?;
        let Some((result, digests)) = gathered? else { return Ok(None) };
        let mut sent = 0;
        for digests in digests.chunks(10_000) {
            let missing = self.call(self.backend.missing(digests)).await?;
            let (small, large): (Vec<Digest>, Vec<Digest>) =
                missing.into_iter().partition(|digest| digest.size() <= SMALL);
            for batch in batches(&small) {
                let Some(blobs) = read_all(&item.store, batch).await? else { return Ok(None) };
                sent += blobs.iter().map(|(digest, _)| digest.size()).sum::<u64>();
                self.call(self.backend.write(blobs)).await?;
            }
            for digest in large {
                if !self.send_large(&item.store, digest).await? {
                    return Ok(None);
                }
                sent += digest.size();
            }
        }
        self.call(self.backend.put_result(&item.key, &result)).await?;
        Ok(Some(sent))
    }

    /// Sends a blob in pieces; false when the store has it no more.
    async fn send_large(&self, store: &Store, digest: Digest) -> Result<bool, BackendError> {
        let (sender, pieces) = tokio::sync::mpsc::channel(4);
        let store = store.clone();
        // Ends at the latest when nobody takes pieces any more.
        let reading = tokio::task::spawn_blocking(move || read_pieces(&store, digest, &sender));
        // Large blobs take as long as they take; but not forever without any of it being taken.
        let allowance = self.options.patience + std::time::Duration::from_millis(digest.size() / 100);
        let writing = tokio::time::timeout(allowance, self.backend.write_pieces(&digest, pieces));
        let written = writing.await.unwrap_or_else(|_| Err(self.too_slow()));
        let whole = reading.await.map_err(|_| crate::pull::broken_off())??;
        if whole { written.map(|()| true) } else { Ok(false) }
    }
}

/// The result with every blob that is to be written before it.
fn gather(item: &Item, function: DigestFunction) -> Result<Option<(reapi::ActionResult, Vec<Digest>)>, BackendError> {
    let Some(result) = item.store.action_result(&item.key.key)? else { return Ok(None) };
    let mut references = References::of(function, &result)?;
    let mut all = item.extra.clone();
    for tree in std::mem::take(&mut references.trees) {
        let Some(bytes) = item.store.read(&tree)? else { return Ok(None) };
        references.add_tree(function, &bytes)?;
        all.push(tree);
    }
    let mut level = distinct(std::mem::take(&mut references.directories));
    for _ in 0..MAX_DEPTH {
        let mut deeper = Vec::new();
        for directory in level {
            let Some(bytes) = item.store.read(&directory)? else { return Ok(None) };
            deeper.extend(references.add_directory(function, &bytes)?);
            all.push(directory);
        }
        let known: std::collections::HashSet<Digest> = all.iter().copied().collect();
        level = distinct(deeper).into_iter().filter(|digest| !known.contains(digest)).collect();
        if level.is_empty() {
            break;
        }
    }
    all.extend(references.blobs);
    Ok(Some((result, distinct(all))))
}

async fn read_all(store: &Store, digests: Vec<Digest>) -> Result<Option<Vec<(Digest, Bytes)>>, BackendError> {
    let store = store.clone();
    let read = move || {
        let mut blobs = Vec::with_capacity(digests.len());
        for digest in digests {
            let Some(bytes) = store.read(&digest)? else { return Ok(None) };
            blobs.push((digest, bytes));
        }
        Ok(Some(blobs))
    };
    blocking(read).await
}

fn read_pieces(store: &Store, digest: Digest, pieces: &Sender<Bytes>) -> Result<bool, BackendError> {
    let Some(mut reader) = store.open_blob(&digest)? else { return Ok(false) };
    let mut position = 0;
    while position < digest.size() {
        let piece = reader.read_range(position, PIECE);
        let piece = piece.map_err(|error| BackendError::new(Failure::Local, error.to_string()))?;
        if piece.is_empty() {
            return Ok(false);
        }
        position += piece.len() as u64;
        if pieces.blocking_send(piece).is_err() {
            break;
        }
    }
    Ok(true)
}
