//! One cache as all protocols see it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use buildnet_cas::{CasError, Store};
use buildnet_digest::{Diagnostic, Digest, DigestFunction, ErrorCategory, reapi};
use tokio::sync::Semaphore;

use crate::access::{Access, Identity, Role};
use crate::backing::{Backing, EntryKey, Removal};
use crate::metrics::Metrics;
use crate::namespace::{self, InstanceError, Overlay};
use crate::origins::archive::{collect, unpack};
use crate::origins::{FetchError, Fetcher, Origins};
use crate::provenance::{Provenance, Written, now_ms};
use crate::slots::{Slots, TooSlow};
use crate::source::RequestSource;

/// Bounds of what clients can cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest blob or artifact in bytes.
    pub max_blob_bytes: u64,
    /// Bytes of all blobs in one batch request or response; stays below gRPC's default message size of 4 MiB.
    pub max_batch_bytes: u64,
    /// Largest message that is taken, in bytes.
    pub max_message_bytes: usize,
    /// Bytes of all gRPC messages that are being received or dealt with. A request whose message has no room waits, for at
    /// most `idle`; then it is told to come again later.
    pub max_receiving_bytes: usize,
    /// Requests served at once; further ones are told to come again later.
    pub max_in_flight: usize,
    /// A client that sends nothing for this long in mid-request is dropped.
    pub idle: Duration,
    /// Bytes per second that a client must move at least, counted over the time that the server waits for it: a request may
    /// take `idle` and as long as its bytes take at this rate. Slower ones are dropped.
    pub min_rate: u64,
    /// Interrupted uploads kept for resumption.
    pub max_parked_uploads: usize,
    /// Bytes of all interrupted uploads together.
    pub max_parked_bytes: u64,
    /// How long an interrupted upload is kept.
    pub parked: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_blob_bytes: 32 << 30,
            max_batch_bytes: (4 << 20) - (64 << 10),
            max_message_bytes: 8 << 20,
            max_receiving_bytes: 256 << 20,
            max_in_flight: 1024,
            idle: Duration::from_mins(1),
            min_rate: 4 << 10,
            max_parked_uploads: 256,
            max_parked_bytes: 4 << 30,
            parked: Duration::from_mins(10),
        }
    }
}

/// Options of [`CacheService::open`].
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Bounds of what clients can cost.
    pub limits: Limits,
    /// Who may do what.
    pub access: Access,
    /// Instances that fall back to others.
    pub overlays: Vec<Overlay>,
    /// Where assets that nobody pushed may be fetched from.
    pub origins: Origins,
    /// What is asked for what the store has not, and gets what is written.
    pub backing: Option<Arc<dyn Backing>>,
    /// Whether `UpdateActionResult` asks for the Action and its Command, which not all clients upload.
    pub demand_actions: bool,
}

impl Default for CacheOptions {
    /// Default limits, no tokens, `pr/…` over `main`, no origins, results of any action.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            access: Access::open(),
            overlays: vec![Overlay { prefix: "pr".into(), parent: "main".into() }],
            origins: Origins::default(),
            backing: None,
            demand_actions: false,
        }
    }
}

/// What can go wrong in the cache, whatever the protocol.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The store failed, or the content was not what was promised.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// A bad instance name.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A request that makes no sense.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The token does not allow it.
    #[error("`{name}` may not {action} in instance `{instance}`")]
    Denied {
        /// Name of the token.
        name: String,
        /// What was asked.
        action: &'static str,
        /// The instance.
        instance: String,
    },
    /// Larger than the cache takes.
    #[error("more than the {limit} bytes that the cache takes at once")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The cache's own files failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The client let the server wait for too long.
    #[error("the client is too slow")]
    TooSlow,
    /// The server is stopping.
    #[error("the server is stopping")]
    Gone,
}

impl CacheError {
    /// The failure of a request's body that broke off with `error`.
    pub fn of_body(error: &(dyn std::error::Error + 'static)) -> Self {
        if TooSlow::caused(error) { Self::TooSlow } else { Self::Invalid { message: "the body broke off".into() } }
    }
}

impl Diagnostic for CacheError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Cas(error) => error.category(),
            Self::Instance(_) | Self::Invalid { .. } | Self::Denied { .. } | Self::TooLarge { .. } => {
                ErrorCategory::User
            }
            Self::Io { .. } | Self::TooSlow | Self::Gone => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cas(error) => error.hint(),
            Self::Denied { .. } => Some("use a token with the role and the instance that this needs".into()),
            _ => None,
        }
    }
}

/// An entry of a protocol whose keys are no digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEntry {
    /// The content, a blob of the store.
    pub digest: Digest,
    /// What the protocol keeps beside it (headers, for example).
    pub properties: Vec<(String, String)>,
}

/// A cache: the store, its instances, who may do what, and what is counted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CacheService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    dir: PathBuf,
    options: CacheOptions,
    metrics: Metrics,
    provenance: Provenance,
    slots: Slots,
    spooled: AtomicU64,
    fetcher: Fetcher,
}

impl CacheService {
    /// Opens the cache over `store`. `dir` takes what the protocols keep beside it; it is created when missing.
    pub fn open(store: Store, dir: &Path, options: CacheOptions) -> Result<Self, CacheError> {
        let spool = dir.join("spool");
        std::fs::create_dir_all(&spool).map_err(|source| CacheError::Io {
            action: "create",
            path: spool.clone(),
            source,
        })?;
        remove_orphans(&spool);
        let provenance = Provenance::open(&dir.join("writers.jsonl"))?;
        let mut origins = options.origins.clone();
        origins.max_bytes = origins.max_bytes.min(options.limits.max_blob_bytes);
        let slots = Slots::new(&options.limits);
        let inner = Inner {
            fetcher: Fetcher::new(origins),
            store,
            dir: dir.to_owned(),
            options,
            metrics: Metrics::default(),
            provenance,
            slots,
            spooled: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Who may do what.
    pub fn access(&self) -> &Access {
        &self.inner.options.access
    }

    /// Bounds of what clients can cost.
    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// Refuses blobs that are larger than the cache takes.
    pub(crate) fn check_size(&self, digest: &Digest) -> Result<(), CacheError> {
        let limit = self.limits().max_blob_bytes;
        if digest.size() > limit { Err(CacheError::TooLarge { limit }) } else { Ok(()) }
    }

    /// The tier behind the store.
    pub fn backing(&self) -> Option<&Arc<dyn Backing>> {
        self.inner.options.backing.as_ref()
    }

    /// Whether results are taken of actions alone that are here with their commands.
    pub(crate) fn demands_actions(&self) -> bool {
        self.inner.options.demand_actions
    }

    /// The instances to look into when `instance` is asked, in order.
    pub(crate) fn lookup_order<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a str> {
        namespace::lookup_order(&self.inner.options.overlays, instance)
    }

    /// The directory of what the protocols keep beside the store.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(crate) fn provenance(&self) -> &Provenance {
        &self.inner.provenance
    }

    /// What fetches assets from their origins.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        &self.inner.fetcher
    }

    /// Makes a directory of the store out of an archive (tar, plain or by gzip or zstd; zip), or out of the part of it that lies below
    /// `directory`; empty is the whole. Bounded as the options say of archives from origins.
    pub fn unpack(&self, function: DigestFunction, archive: &Path, directory: &str) -> Result<Digest, CacheError> {
        let failed = |error: FetchError| CacheError::Invalid { message: error.to_string() };
        let collected = collect(self, function, directory, |into| unpack(archive, into));
        collected.map_err(failed)
    }

    /// Slots of requests served at once.
    pub fn in_flight(&self) -> &Arc<Semaphore> {
        self.inner.slots.free()
    }

    /// Bytes of all gRPC messages that are being received or dealt with.
    pub fn receiving(&self) -> usize {
        self.inner.slots.receiving()
    }

    /// The requests in flight.
    pub(crate) fn slots(&self) -> &Slots {
        &self.inner.slots
    }

    /// A new path for a body whose digest is known only at its end.
    pub fn spool_path(&self) -> PathBuf {
        let number = self.inner.spooled.fetch_add(1, Ordering::Relaxed);
        self.inner.dir.join("spool").join(format!("{}-{number}", std::process::id()))
    }

    /// Runs work on the disk outside the threads that serve connections.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.unwrap_or(Err(CacheError::Gone))
    }

    /// Checks that a client may do what needs `role` in an instance. A request that came past the access layer has no
    /// identity and may do nothing.
    pub fn authorize(&self, identity: Option<&Identity>, instance: &str, role: Role) -> Result<Identity, CacheError> {
        namespace::check(instance)?;
        match identity {
            Some(identity) if identity.role >= role && identity.covers(instance) => Ok(identity.clone()),
            _ => Err(CacheError::Denied {
                name: identity.map_or("nobody", |identity| &identity.name).to_owned(),
                action: match role {
                    Role::Read => "read",
                    Role::Write => "write",
                    Role::Admin => "administrate",
                },
                instance: instance.to_owned(),
            }),
        }
    }

    /// The result of an action, of this instance or the one below it, when all its blobs are there.
    pub fn action_result(&self, instance: &str, action: &Digest) -> Result<Option<reapi::ActionResult>, CacheError> {
        for instance in self.lookup_order(instance) {
            if let Some(result) = self.inner.store.action_result(&namespace::action_key(instance, action))? {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// Stores the result of an action in one instance, and records who did.
    pub fn put_action_result(
        &self,
        writer: &Identity,
        instance: &str,
        action: &Digest,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        let key = EntryKey::action(instance, action);
        self.put("reapi", (writer, None), instance, &action.to_string(), key, result)
    }

    /// Looks a named entry up, in this instance or the one below it.
    pub fn named(&self, protocol: &str, instance: &str, key: &str) -> Result<Option<NamedEntry>, CacheError> {
        for instance in self.lookup_order(instance) {
            let key = namespace::named_key(DigestFunction::Sha256, protocol, instance, key);
            if let Some(entry) = self.inner.store.action_result(&key)?.and_then(|result| entry_of(&key, result)) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Looks a named result up, in this instance or the one below it: like a named entry, but with any outputs.
    pub(crate) fn named_result(
        &self,
        function: DigestFunction,
        protocol: &str,
        instance: &str,
        key: &str,
    ) -> Result<Option<reapi::ActionResult>, CacheError> {
        for instance in self.lookup_order(instance) {
            let key = namespace::named_key(function, protocol, instance, key);
            if let Some(result) = self.inner.store.action_result(&key)? {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    /// Stores a named result, whose digests use `function`.
    pub(crate) fn put_named_result(
        &self,
        function: DigestFunction,
        protocol: &str,
        writer: &Identity,
        instance: &str,
        key: &str,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        let entry = EntryKey::derived(namespace::named_key(function, protocol, instance, key));
        self.put(protocol, (writer, None), instance, key, entry, result)
    }

    /// Stores a named entry, whose content is in the store already.
    pub fn put_named(
        &self,
        protocol: &str,
        writer: &Identity,
        instance: &str,
        key: &str,
        entry: &NamedEntry,
    ) -> Result<(), CacheError> {
        let properties = entry.properties.iter();
        let properties =
            properties.map(|(name, value)| reapi::NodeProperty { name: name.clone(), value: value.clone() });
        let file = reapi::OutputFile {
            path: "entry".into(),
            digest: Some(entry.digest.to_reapi()),
            node_properties: Some(reapi::NodeProperties { properties: properties.collect(), ..Default::default() }),
            ..Default::default()
        };
        let result = reapi::ActionResult { output_files: vec![file], ..Default::default() };
        self.put_named_result(DigestFunction::Sha256, protocol, writer, instance, key, &result)
    }

    /// Forgets a named entry; false when there was none.
    pub fn remove_named(&self, protocol: &str, instance: &str, key: &str) -> Result<bool, CacheError> {
        let key = namespace::named_key(DigestFunction::Sha256, protocol, instance, key);
        let (removed, behind) = self.remove(&EntryKey::derived(key))?;
        Ok(removed || behind == Removal::Removed)
    }

    /// Forgets an entry here and behind, lest it come back. Whether it was here, and what came of it behind. Blocks on both.
    pub(crate) fn remove(&self, entry: &EntryKey) -> Result<(bool, Removal), CacheError> {
        let removed = self.inner.store.remove_action_result(&entry.key)?;
        let behind = match (self.backing(), tokio::runtime::Handle::try_current()) {
            (Some(backing), Ok(runtime)) => {
                let behind = runtime.block_on(backing.forget(entry));
                // Whoever looked it up meanwhile may have brought it back.
                self.inner.store.remove_action_result(&entry.key)?;
                behind
            }
            _ => Removal::Absent,
        };
        Ok((removed, behind))
    }

    fn put(
        &self,
        protocol: &str,
        (writer, source): (&Identity, Option<&RequestSource>),
        instance: &str,
        name: &str,
        entry: EntryKey,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        let written = Self::written(protocol, (writer, source), instance, name, entry.key);
        self.store_entry(entry, &written, result)
    }

    /// Stores a result, here and behind.
    pub(crate) fn store_entry(
        &self,
        entry: EntryKey,
        written: &Written,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        // An entry that nobody can be blamed for must not exist: who wrote it goes into the same record.
        self.inner.store.put_noted_result(&entry.key, result, &written.note()?)?;
        self.publish(entry, written, result)
    }

    /// Has a stored result written to the tier behind, if there is one. There it outlives its record here, so that who wrote it is
    /// logged first. Blocks on the disk.
    pub(crate) fn publish(
        &self,
        entry: EntryKey,
        written: &Written,
        result: &reapi::ActionResult,
    ) -> Result<(), CacheError> {
        let Some(backing) = self.backing() else { return Ok(()) };
        self.inner.provenance.record(written)?;
        backing.publish(&self.inner.store, entry, result);
        Ok(())
    }

    /// Who writes an entry now.
    pub(crate) fn written(
        protocol: &str,
        (writer, source): (&Identity, Option<&RequestSource>),
        instance: &str,
        name: &str,
        key: Digest,
    ) -> Written {
        Written {
            protocol: protocol.into(),
            instance: instance.into(),
            name: name.into(),
            key,
            writer: writer.name.to_string(),
            author: None,
            time_ms: now_ms(),
            source: source.cloned(),
        }
    }

    /// Stores a result that comes from elsewhere under its key, and records who brought it.
    pub fn import(&self, writer: &Identity, entry: EntryKey, result: &reapi::ActionResult) -> Result<(), CacheError> {
        match entry.action {
            Some(action) => self.put_action_result(writer, &entry.instance, &action, result),
            None => self.put("import", (writer, None), "", &entry.key.to_string(), entry, result),
        }
    }
}

/// Removes what killed processes left half uploaded. Names start with the number of the process.
fn remove_orphans(spool: &Path) {
    for entry in std::fs::read_dir(spool).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split_once('-')).map(|(process, _)| process);
        let alive = process.is_some_and(|process| Path::new("/proc").join(process).exists());
        if !alive {
            // Somebody else may have removed it meanwhile. Repositories are directories.
            if std::fs::remove_file(entry.path()).is_err() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn entry_of(key: &Digest, result: reapi::ActionResult) -> Option<NamedEntry> {
    let file = result.output_files.into_iter().next()?;
    let digest = Digest::from_reapi(key.function(), file.digest.as_ref()?).ok()?;
    let properties = file.node_properties.unwrap_or_default().properties;
    let properties = properties.into_iter().map(|property| (property.name, property.value)).collect();
    Some(NamedEntry { digest, properties })
}

#[cfg(test)]
mod tests {
    use buildnet_cas::StoreOptions;

    use super::*;

    fn somebody(name: &str, role: Role) -> Identity {
        Identity { name: name.into(), role, instances: Arc::new([]) }
    }

    fn service(dir: &Path) -> CacheService {
        let store = Store::open(&dir.join("store"), StoreOptions::default()).unwrap();
        CacheService::open(store, dir, CacheOptions::default()).unwrap()
    }

    #[test]
    fn overlays_read_down_and_never_write_down() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let ci = somebody("ci", Role::Write);
        let action = DigestFunction::Sha256.digest(b"action");
        let result = |code| reapi::ActionResult { exit_code: code, ..Default::default() };
        let code = |instance: &str| service.action_result(instance, &action).unwrap().map(|result| result.exit_code);

        service.put_action_result(&ci, "main", &action, &result(1)).unwrap();
        assert_eq!((code("pr/1"), code("pr/2"), code("main"), code("")), (Some(1), Some(1), Some(1), None));
        service.put_action_result(&ci, "pr/1", &action, &result(2)).unwrap();
        assert_eq!((code("pr/1"), code("pr/2"), code("main")), (Some(2), Some(1), Some(1)));

        assert!(matches!(service.promote(&ci, "pr/1", "main", None), Err(CacheError::Denied { .. })));
        assert_eq!(code("main"), Some(1));
        let boss = somebody("boss", Role::Admin);
        assert_eq!(service.promote(&boss, "pr/1", "main", Some("nothing")).unwrap(), 0);
        assert_eq!(service.promote(&boss, "pr/1", "main", None).unwrap(), 1);
        assert_eq!(code("main"), Some(2));
    }

    #[test]
    fn orphans_of_dead_processes_go() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        std::fs::create_dir_all(&spool).unwrap();
        // Process 1 is alive wherever this runs; no process has so high a number (the kernel's limit is 2^22).
        for name in ["1-0", "99999999-0", "nonsense"] {
            std::fs::write(spool.join(name), "half").unwrap();
        }
        let service = service(dir.path());
        let left: Vec<_> = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["1-0"]);
        assert!(service.spool_path().starts_with(&spool));
    }

    #[test]
    fn a_writer_can_be_purged() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let digest = service.store().put_bytes(DigestFunction::Sha256, b"content").unwrap();
        let entry = NamedEntry { digest, properties: vec![("tag".into(), "t".into())] };
        for (writer, key) in [("mallory", "a"), ("alice", "b"), ("alice", "c"), ("mallory", "c")] {
            service.put_named("nx", &somebody(writer, Role::Write), "", key, &entry).unwrap();
        }
        assert_eq!(service.named("nx", "", "a").unwrap(), Some(entry.clone()));
        assert_eq!(service.named("gradle", "", "a").unwrap(), None);
        assert_eq!(service.purge_by_writer("mallory").unwrap(), 2);
        assert_eq!(service.named("nx", "", "a").unwrap(), None);
        assert_eq!(service.named("nx", "", "b").unwrap(), Some(entry));
        assert_eq!(service.named("nx", "", "c").unwrap(), None);
    }
}
