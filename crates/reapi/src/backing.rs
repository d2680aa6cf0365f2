//! A slower, larger cache behind the store: read through on a miss, written back in the background.

use std::fmt;

use buildnet_cas::Store;
use buildnet_digest::{Digest, DigestFunction, reapi};
use futures::future::BoxFuture;

use crate::namespace;
use crate::service::{CacheError, CacheService};

/// What a result is found by, here and in caches that know nothing of our keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey {
    /// The store's own key. It covers the instance, and whatever else tells entries apart.
    pub key: Digest,
    /// The instance of a REAPI action; empty for other entries.
    pub instance: String,
    /// The digest that REAPI clients know the action by; none for entries of other protocols.
    pub action: Option<Digest>,
}

impl EntryKey {
    /// Of an action in an instance.
    pub fn action(instance: &str, action: &Digest) -> Self {
        Self { key: namespace::action_key(instance, action), instance: instance.to_owned(), action: Some(*action) }
    }

    /// Of an entry that only the store's key names.
    pub fn derived(key: Digest) -> Self {
        Self { key, instance: String::new(), action: None }
    }
}

/// What came of forgetting a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was there, and is there no more.
    Removed,
    /// It was not there.
    Absent,
    /// It may still be there, since nothing can be removed, or not now; but it is not read from there any more.
    Hidden,
}

/// What a tier did since it was opened, and what it has still to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackingStats {
    /// What is behind, for people.
    pub name: String,
    /// Whether it is left alone for the moment, since it failed.
    pub suspended: bool,
    /// Blobs and results brought from it.
    pub hits: u64,
    /// Blobs and results that it had not.
    pub misses: u64,
    /// Requests that failed, also those that were tried again.
    pub failures: u64,
    /// Bytes of blobs brought from it.
    pub read_bytes: u64,
    /// Results written to it.
    pub written: u64,
    /// Bytes of blobs written to it.
    pub written_bytes: u64,
    /// Results that were not written: the queue was full, or writing failed for good.
    pub dropped: u64,
    /// Results that wait to be written.
    pub pending: u64,
    /// Bytes that these name themselves.
    pub pending_bytes: u64,
}

impl BackingStats {
    /// In the text format of Prometheus.
    pub fn render(&self) -> String {
        let figures = [
            ("hits_total", "counter", "Blobs and results brought from the tier behind the cache.", self.hits),
            ("misses_total", "counter", "Blobs and results that it had not.", self.misses),
            ("failures_total", "counter", "Requests to it that failed.", self.failures),
            ("read_bytes_total", "counter", "Bytes of blobs brought from it.", self.read_bytes),
            ("written_total", "counter", "Results written to it.", self.written),
            ("written_bytes_total", "counter", "Bytes of blobs written to it.", self.written_bytes),
            ("dropped_total", "counter", "Results that were given up instead of written to it.", self.dropped),
            ("pending", "gauge", "Results that wait to be written to it.", self.pending),
            ("pending_bytes", "gauge", "Bytes that these name.", self.pending_bytes),
            ("suspended", "gauge", "1 while it is left alone, since it failed.", u64::from(self.suspended)),
        ];
        let text = figures.map(|(name, kind, help, value)| {
            let name = format!("buildnet_backing_{name}");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
        });
        text.concat()
    }
}

/// A tier behind the store.
///
/// It never fails a request: what it cannot do counts as a miss, or is done later, and shows in its statistics.
pub trait Backing: fmt::Debug + Send + Sync + 'static {
    /// Brings a blob into the store, verified. False when it is not there or cannot be had.
    fn pull_blob<'a>(&'a self, store: &'a Store, digest: &'a Digest) -> BoxFuture<'a, bool>;

    /// Brings those of the blobs, all of one function, that are there. Whether any came.
    fn pull_blobs<'a>(&'a self, store: &'a Store, digests: &'a [Digest]) -> BoxFuture<'a, bool>;

    /// Brings what a result names itself and through its trees, as far as the store has it not. Whether all of it is here then.
    fn pull_parts<'a>(
        &'a self,
        store: &'a Store,
        function: DigestFunction,
        result: &'a reapi::ActionResult,
    ) -> BoxFuture<'a, bool>;

    /// Positions of those of the blobs, all of one function, that are not there, or of which it does not say so within seconds.
    /// Answers may be some seconds old.
    fn absent<'a>(&'a self, digests: &'a [Digest]) -> BoxFuture<'a, Vec<usize>>;

    /// Brings a result with every blob that it names into the store, the blobs first. False when it is not there, or not complete.
    fn pull_result<'a>(&'a self, store: &'a Store, key: &'a EntryKey) -> BoxFuture<'a, bool>;

    /// Has a result that the store holds, and the blobs that it names, written in the background. Returns at once.
    fn publish(&self, store: &Store, key: EntryKey, result: &reapi::ActionResult);

    /// Forgets a result. It is then not written any more either, nor read from there until it is stored anew.
    fn forget<'a>(&'a self, key: &'a EntryKey) -> BoxFuture<'a, Removal>;

    /// Waits until everything is written, or until nothing is written any more; what is left is kept for the next start where the
    /// tier can.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// What it did.
    fn stats(&self) -> BackingStats;
}

/// What a look-up is about, so that it can be brought from behind.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Blobs.
    Blobs(Vec<Digest>),
    /// Results: the first that is found is enough.
    Results(Vec<EntryKey>),
}

impl Wanted {
    /// One blob.
    pub fn blob(digest: Digest) -> Self {
        Self::Blobs(vec![digest])
    }
}

impl CacheService {
    /// The result of an action, of this instance or the one below it.
    pub fn wanted_action(&self, instance: &str, action: &Digest) -> Wanted {
        Wanted::Results(self.lookup_order(instance).map(|instance| EntryKey::action(instance, action)).collect())
    }

    /// A named entry, of this instance or the one below it.
    pub fn wanted_named(&self, protocol: &str, instance: &str, key: &str) -> Wanted {
        Wanted::Results(self.keys_of(DigestFunction::Sha256, protocol, instance, key))
    }

    /// The keys of a named result, whose digests use `function`, in this instance and the one below it.
    pub(crate) fn keys_of(&self, function: DigestFunction, protocol: &str, instance: &str, key: &str) -> Vec<EntryKey> {
        let keys = self.lookup_order(instance).map(|instance| namespace::named_key(function, protocol, instance, key));
        keys.map(EntryKey::derived).collect()
    }

    /// Looks into the store; where that finds nothing, brings what is wanted from the tier behind, and looks once more.
    pub async fn look<T: Send + 'static>(
        &self,
        wanted: impl FnOnce(&Self) -> Wanted,
        look: impl Fn(&Self) -> Result<Option<T>, CacheError> + Clone + Send + 'static,
    ) -> Result<Option<T>, CacheError> {
        let found = self.run(look.clone()).await?;
        if found.is_some() || !self.pull(wanted).await {
            return Ok(found);
        }
        self.run(look).await
    }

    /// Brings what is wanted from the tier behind, if there is one. Whether anything came.
    pub async fn pull(&self, wanted: impl FnOnce(&Self) -> Wanted) -> bool {
        let Some(backing) = self.backing() else { return false };
        match wanted(self) {
            Wanted::Blobs(digests) => match &digests[..] {
                [digest] => backing.pull_blob(self.store(), digest).await,
                digests => backing.pull_blobs(self.store(), digests).await,
            },
            Wanted::Results(keys) => {
                for key in &keys {
                    if backing.pull_result(self.store(), key).await {
                        return true;
                    }
                }
                false
            }
        }
    }
}
