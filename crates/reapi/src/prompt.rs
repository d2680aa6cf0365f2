//! What a server answers at once: on the thread that serves the connection where memory has it, else outside. Handing work
//! to another thread and back costs more than most of this work.

use buildnet_cas::{Cached, CasError};
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::access::Identity;
use crate::backing::{EntryKey, Wanted};
use crate::namespace;
use crate::service::{CacheError, CacheService};
use crate::source::RequestSource;

/// More bytes than this are hashed, compressed or copied outside the threads that serve connections.
pub(crate) const AT_ONCE: usize = 256 << 10;

impl CacheService {
    /// A whole blob, also from the tier behind.
    pub(crate) async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, CacheError> {
        if let Some(blob) = self.store().read_cached(&digest) {
            return Ok(Some(blob));
        }
        self.look(|_| Wanted::blob(digest), move |service| Ok(service.store().read(&digest)?)).await
    }

    /// Those of the digests whose blobs are not in the store.
    pub(crate) async fn missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>, CacheError> {
        if let Some(missing) = self.store().find_missing_at_cached(digests.iter().copied()) {
            return Ok(missing.into_iter().map(|position| digests[position]).collect());
        }
        self.run(move |service| Ok(service.store().find_missing(&digests)?)).await
    }

    /// Positions of those of the digests, all of one function, whose blobs are neither in the store nor behind it.
    pub(crate) async fn missing_at(&self, digests: Vec<Digest>) -> Result<Vec<usize>, CacheError> {
        let Some(backing) = self.backing() else {
            return self.run(move |service| Ok(service.store().find_missing_at(&digests)?)).await;
        };
        let look = move |service: &Self| Ok((service.store().find_missing_at(&digests)?, digests));
        let (missing, digests) = self.run(look).await?;
        let asked: Vec<Digest> = missing.iter().map(|&at| digests[at]).collect();
        Ok(backing.absent(&asked).await.into_iter().map(|at| missing[at]).collect())
    }

    /// Brings what a result names from the tier behind, where clients were told that they need not send it.
    pub(crate) async fn pull_parts(&self, function: DigestFunction, result: &reapi::ActionResult) {
        if let Some(backing) = self.backing() {
            backing.pull_parts(self.store(), function, result).await;
        }
    }

    /// Stores blobs; a result for each.
    pub(crate) async fn put_blobs(&self, blobs: Vec<(Digest, Bytes)>) -> Result<Vec<Result<(), CasError>>, CacheError> {
        if blobs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= AT_ONCE {
            let (sender, receiver) = oneshot::channel();
            // Who asked may be gone meanwhile.
            let submitted = self.store().submit_batch(&blobs, |results| drop(sender.send(results)));
            if submitted.is_ok() {
                return receiver.await.map_err(|_| CacheError::Gone);
            }
        }
        self.run(move |service| Ok(service.store().put_batch(&blobs))).await
    }

    /// The result of an action, of this instance or the one below it, as far as memory tells.
    pub(crate) fn action_result_cached(&self, instance: &str, action: &Digest) -> Cached<reapi::ActionResult> {
        for instance in self.lookup_order(instance) {
            match self.store().action_result_cached(&namespace::action_key(instance, action)) {
                Cached::Absent => {}
                other => return other,
            }
        }
        // The tier behind may have it.
        if self.backing().is_some() { Cached::Unknown } else { Cached::Absent }
    }

    /// Stores the result of an action, whose blobs are there, and records who did and with what.
    pub(crate) async fn submit_action_result(
        &self,
        source: &RequestSource,
        writer: &Identity,
        instance: &str,
        action: &Digest,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        let key = EntryKey::action(instance, action);
        let written = Self::written("reapi", (writer, Some(source)), instance, &action.to_string(), key.key);
        let (sender, receiver) = oneshot::channel();
        self.store().submit_action_result(&key.key, result, &written.note()?, |done| drop(sender.send(done)));
        receiver.await.map_err(|_| CacheError::Gone)??;
        if self.backing().is_none() {
            return Ok(());
        }
        let result = result.clone();
        self.run(move |service| service.publish(key, &written, &result)).await
    }
}
