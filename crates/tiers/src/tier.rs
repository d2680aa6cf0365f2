//! What a cache can rely on, made of a far side that it cannot rely on.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use buildnet_cas::Store;
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{Backing, BackingStats, EntryKey, Removal};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::backend::Backend;
use crate::breaker::{Breaker, Change};
use crate::error::{BackendError, Failure};
use crate::flight::Flights;
use crate::forgotten::Forgotten;
use crate::queue::{Item, Queue};
use crate::seen::Seen;
use crate::upload;

/// Results looked up at once: a wide build asks for thousands, and servers refuse what they cannot serve at once.
const LOOKUPS: usize = 64;

/// How a tier deals with its far side.
#[derive(Clone, Debug)]
pub struct TierOptions {
    /// Longest wait for an answer, or for the next piece of a blob.
    pub patience: Duration,
    /// Failures in a row after which the far side is left alone.
    pub failures: u32,
    /// For how long, the first time; each try that fails doubles it, up to five minutes.
    pub pause: Duration,
    /// Tries to write one result.
    pub attempts: u32,
    /// Wait between these, doubled each time.
    pub backoff: Duration,
    /// Results that wait to be written, at most.
    pub queue_entries: usize,
    /// Bytes that these name themselves (their files and logs, not the files of their directories), at most.
    pub queue_bytes: u64,
    /// Results written at once; 0 to write nothing.
    pub writers: usize,
    /// Batches and streams read at once.
    pub readers: usize,
    /// Whether what waits outlasts a pause. If not, a far side that is left alone loses what waits.
    pub patient: bool,
}

impl Default for TierOptions {
    /// For a server: 30 s of patience, three failures, five tries, 10,000 results or 16 GiB.
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            failures: 3,
            pause: Duration::from_secs(5),
            attempts: 5,
            backoff: Duration::from_millis(250),
            queue_entries: 10_000,
            queue_bytes: 16 << 30,
            writers: 4,
            readers: 8,
            patient: true,
        }
    }
}

/// What whoever runs a tier should know. Each is told when it begins, not for each request.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// A request failed.
    Failed(BackendError),
    /// The far side is left alone for a while, or for good, after this failure.
    Suspended(BackendError),
    /// It answers again.
    Resumed,
    /// It takes nothing from us: nothing is written any more.
    ReadOnly(BackendError),
    /// The queue is full: what comes now is not written.
    Full,
    /// A result was given up.
    GivenUp(BackendError),
}

/// What is still to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Results, those under way included.
    pub results: u64,
    /// Bytes that they name themselves.
    pub bytes: u64,
}

/// A tier behind a store. Cheap to clone; the last clone that goes ends what goes on in the background.
#[derive(Clone, Debug)]
pub struct Tier {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    workers: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.workers.iter().for_each(AbortHandle::abort);
    }
}

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: TierOptions,
    pub(crate) breaker: Breaker,
    pub(crate) results: Flights,
    pub(crate) blobs: Flights,
    pub(crate) transfers: Semaphore,
    pub(crate) lookups: Semaphore,
    pub(crate) queue: Queue,
    pub(crate) forgotten: Forgotten,
    pub(crate) seen: Seen,
    pub(crate) counters: Counters,
    /// Set when the far side takes nothing from us.
    pub(crate) read_only: AtomicBool,
    journal: Mutex<Option<PathBuf>>,
    report: Box<dyn Fn(Trouble) + Send + Sync>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("backend", &self.backend).field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn report(&self, trouble: Trouble) {
        (self.report)(trouble);
    }

    /// One call of the far side within the patience, counted, and told to the breaker.
    pub(crate) async fn call<T>(&self, work: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
        let outcome = tokio::time::timeout(self.options.patience, work).await;
        let outcome = outcome.unwrap_or_else(|_| Err(self.too_slow()));
        if outcome.is_ok() && self.breaker.succeeded() == Change::Resumed {
            self.report(Trouble::Resumed);
        }
        outcome
    }

    pub(crate) fn too_slow(&self) -> BackendError {
        BackendError::timeout(&self.backend.name(), self.options.patience.as_secs())
    }

    /// Has a result removed on the far side; where that cannot be done it is at least not read from there any more.
    async fn forget(&self, key: &EntryKey) -> Removal {
        self.forgotten.add(key.key);
        self.queue.forget(&key.key);
        // What is being written would come after it was removed.
        let unwritten = tokio::time::timeout(self.options.patience, self.queue.unwritten(&key.key)).await;
        let outcome = match unwritten {
            Ok(()) if self.breaker.allows(Instant::now()) => self.call(self.backend.forget(key)).await,
            _ => Ok(None),
        };
        if let Ok(Some(there)) = outcome {
            self.forgotten.remove(&key.key);
            return if there { Removal::Removed } else { Removal::Absent };
        }
        if let Err(error) = outcome {
            self.failed(error);
        }
        if let Err(error) = self.forgotten.confirm(&key.key) {
            let message = format!("what was purged may come back from {}: {error}", self.backend.name());
            self.report(Trouble::Failed(BackendError::new(Failure::Local, message)));
        }
        Removal::Hidden
    }

    /// Takes note of a failure.
    pub(crate) fn failed(&self, error: BackendError) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        match self.breaker.failed(error.failure, Instant::now()) {
            Change::Suspended => self.report(Trouble::Suspended(error)),
            _ if self.breaker.is_open() => {}
            _ => self.report(Trouble::Failed(error)),
        }
    }
}

impl Tier {
    /// Makes a tier of a far side. `report` is called from any thread, and must not block. Needs a tokio runtime.
    pub fn new(
        backend: Arc<dyn Backend>,
        options: TierOptions,
        report: impl Fn(Trouble) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            backend,
            breaker: Breaker::new(options.failures, options.pause),
            results: Flights::default(),
            blobs: Flights::default(),
            transfers: Semaphore::new(options.readers.max(1)),
            lookups: Semaphore::new(LOOKUPS),
            queue: Queue::new(options.queue_entries, options.queue_bytes),
            forgotten: Forgotten::default(),
            seen: Seen::default(),
            counters: Counters::default(),
            read_only: AtomicBool::new(options.writers == 0),
            journal: Mutex::default(),
            report: Box::new(report),
            options,
        });
        let workers =
            (0..shared.options.writers).map(|_| tokio::spawn(upload::work(Arc::clone(&shared))).abort_handle());
        let workers = workers.collect();
        Self { running: Arc::new(Running { shared, workers }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    /// Has a result that the store holds, what it names, and `extra` blobs written in the background.
    pub fn publish_with(&self, store: &Store, key: EntryKey, result: &reapi::ActionResult, extra: Vec<Digest>) {
        let shared = self.shared();
        if shared.read_only.load(Ordering::Relaxed) {
            return;
        }
        let item = Item::new(store, key, result, extra);
        if let Some(first) = shared.queue.push(item) {
            shared.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if first {
                shared.report(Trouble::Full);
            }
        }
    }

    /// What is still to be written.
    pub fn pending(&self) -> Pending {
        self.shared().queue.pending()
    }

    /// Returns when nothing is left to be written, whether it was written or given up.
    pub async fn idle(&self) {
        self.shared().queue.idle().await;
    }

    /// Keeps what waits in this file when the tier is closed, and takes up what an earlier process kept there of the results in
    /// `store`. Returns how many these were. A process that is killed leaves nothing there: what it had still to write stays in its
    /// store, and is written when it is stored anew.
    pub fn keep_journal(&self, journal: &Path, store: &Store) -> usize {
        let shared = self.shared();
        let items = crate::queue::read_journal(journal, store);
        *shared.journal.lock() = Some(journal.to_owned());
        let count = items.len();
        for item in items {
            shared.queue.push(item);
        }
        count
    }
}

impl Tier {
    /// Keeps in this file what was purged and cannot be removed behind, and takes up what an earlier process kept there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_forgotten(&self, path: &Path) -> std::io::Result<()> {
        self.shared().forgotten.keep(path)
    }
}

impl Backing for Tier {
    fn pull_blob<'a>(&'a self, store: &'a Store, digest: &'a Digest) -> BoxFuture<'a, bool> {
        Box::pin(self.shared().pull_blob(store, digest))
    }

    fn pull_blobs<'a>(&'a self, store: &'a Store, digests: &'a [Digest]) -> BoxFuture<'a, bool> {
        Box::pin(self.shared().pull_blobs(store, digests))
    }

    fn pull_parts<'a>(
        &'a self,
        store: &'a Store,
        function: DigestFunction,
        result: &'a reapi::ActionResult,
    ) -> BoxFuture<'a, bool> {
        Box::pin(self.shared().pull_parts(store, function, result))
    }

    fn absent<'a>(&'a self, digests: &'a [Digest]) -> BoxFuture<'a, Vec<usize>> {
        Box::pin(self.shared().absent(digests))
    }

    fn pull_result<'a>(&'a self, store: &'a Store, key: &'a EntryKey) -> BoxFuture<'a, bool> {
        Box::pin(self.shared().pull_result(store, key))
    }

    fn publish(&self, store: &Store, key: EntryKey, result: &reapi::ActionResult) {
        self.publish_with(store, key, result, Vec::new());
    }

    fn forget<'a>(&'a self, key: &'a EntryKey) -> BoxFuture<'a, Removal> {
        Box::pin(self.shared().forget(key))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let shared = self.shared();
            // Neither what waits nor what is under way is worth holding up the end of a process for longer.
            let _ = tokio::time::timeout(shared.options.patience.min(Duration::from_secs(10)), self.idle()).await;
            let left = shared.queue.close();
            let journal = shared.journal.lock().clone();
            if let Some(journal) = journal
                && let Err(error) = crate::queue::write_journal(&journal, &left)
            {
                let message = format!("{} results are not written to {}: {error}", left.len(), shared.backend.name());
                shared.report(Trouble::GivenUp(BackendError::new(Failure::Local, message)));
            }
        })
    }

    fn stats(&self) -> BackingStats {
        let shared = self.shared();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Pending { results, bytes } = self.pending();
        let counters = &shared.counters;
        BackingStats {
            name: shared.backend.name(),
            suspended: shared.breaker.is_open(),
            hits: load(&counters.hits),
            misses: load(&counters.misses),
            failures: load(&counters.failures),
            read_bytes: load(&counters.read_bytes),
            written: load(&counters.written),
            written_bytes: load(&counters.written_bytes),
            dropped: load(&counters.dropped),
            pending: results,
            pending_bytes: bytes,
        }
    }
}
