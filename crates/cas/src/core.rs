//! What all handles of one opened store share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use crate::actions::TreeCache;
use crate::append::Appender;
use crate::buffers::Buffers;
use crate::disk::{Disk, DiskFile, Open};
use crate::error::CasError;
use crate::index::Index;
use crate::lock::EvictionLock;
use crate::options::StoreOptions;
use crate::submit::Queue;

/// The layout's name and version, the content of the file `format`.
const FORMAT: &str = "buildnet-cas 1";

/// The shared state of a store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: StoreOptions,
    /// Size in bytes at which a segment is sealed.
    pub(crate) segment_bytes: u64,
    pub(crate) index: Index,
    pub(crate) appender: Appender,
    pub(crate) latch: Latch,
    pub(crate) eviction: EvictionLock,
    pub(crate) counters: Counters,
    pub(crate) trees: Mutex<TreeCache>,
    /// Start, in seconds since 1970, of the newest lease taken through this store; zero before.
    pub(crate) newest_lease: AtomicU64,
    /// Bytes written since the size on disk was last compared with its bound.
    pub(crate) unchecked: AtomicU64,
    pub(crate) collecting: AtomicBool,
    /// Whether sealing and eviction run in threads of their own.
    pub(crate) threads: bool,
    usage: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Memory for blocks that are read.
    pub(crate) buffers: Arc<Buffers>,
    /// Records that wait for the committing thread.
    pub(crate) queue: Arc<Queue>,
    pub(crate) this: Weak<Self>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What a simulation sets otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) threads: bool,
    pub(crate) segment_bytes: u64,
}

impl Tuning {
    /// Some hundred segments: eviction works by segments, and each costs two open files.
    pub(crate) fn of(options: &StoreOptions) -> Self {
        Self { threads: true, segment_bytes: (options.max_bytes / 128).clamp(256 << 10, 512 << 20) }
    }
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) corrupted: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) evicted: AtomicU64,
}

/// Closed for good by the first write that may have been lost.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    reason: OnceLock<String>,
}

impl Latch {
    pub(crate) fn close(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "the cache accepts no more writes");
        }
    }

    pub(crate) fn check(&self, dir: &Path) -> Result<(), CasError> {
        match self.reason.get() {
            Some(reason) => Err(CasError::Latched { dir: dir.to_owned(), reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

/// Directories of a store.
const ROOMS: [&str; 6] = ["lock", "segments", "tables", "large", "leases", "tmp"];

impl Core {
    pub(crate) fn open(
        dir: &Path,
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        tuning: Tuning,
    ) -> Result<Arc<Self>, CasError> {
        let failed = |error| CasError::io("open the cache in", dir, error);
        match read_format(&*disk, dir) {
            Some(found) if found.trim_end() == FORMAT => {}
            Some(found) => {
                let found = found.trim_end().chars().take(40).collect();
                return Err(CasError::Format { dir: dir.to_owned(), found, expected: FORMAT });
            }
            // Not yet a store: an empty one, for who only reads.
            None if options.read_only => {}
            None => create(&*disk, dir).map_err(failed)?,
        }
        let writable = !options.read_only;
        let eviction = EvictionLock::open(&*disk, &dir.join("lock/evict"), writable).map_err(failed)?;
        Ok(Arc::new_cyclic(|this| Self {
            index: Index::new(Arc::clone(&disk), dir, writable),
            dir: dir.to_owned(),
            segment_bytes: tuning.segment_bytes,
            disk,
            options,
            appender: Appender::default(),
            latch: Latch::default(),
            eviction,
            counters: Counters::default(),
            trees: Mutex::default(),
            newest_lease: AtomicU64::new(0),
            unchecked: AtomicU64::new(0),
            collecting: AtomicBool::new(false),
            threads: tuning.threads,
            usage: Mutex::new(None),
            buffers: Arc::default(),
            queue: Arc::default(),
            this: this.clone(),
        }))
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u32 {
        u32::try_from(self.disk.now().as_secs()).unwrap_or(u32::MAX - 1)
    }

    /// A path for a file that is not yet part of the store. The name says when it was made.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.join("tmp").join(format!("{}-{:016x}", self.now(), self.disk.random()))
    }

    pub(crate) fn writable(&self) -> Result<(), CasError> {
        if self.options.read_only {
            return Err(CasError::ReadOnly { dir: self.dir.clone() });
        }
        self.latch.check(&self.dir)
    }

    /// Runs work that nobody waits for: in a thread, or at once where threads are not wanted.
    pub(crate) fn background(&self, work: impl FnOnce(&Self) + Send + 'static) {
        let Some(core) = self.this.upgrade().filter(|_| self.threads) else { return work(self) };
        let spawned = std::thread::Builder::new().name("cas".into()).spawn(move || work(&core));
        if let Err(error) = spawned {
            // Whoever opens the store next does it.
            tracing::warn!(%error, "cannot start a thread for the cache");
        }
    }

    pub(crate) fn arc(&self) -> Arc<Self> {
        self.this.upgrade().expect("called through an Arc")
    }

    /// Bytes that large blobs take, as all processes account for it, after `change`.
    pub(crate) fn large_usage(&self, change: impl FnOnce(u64) -> u64) -> std::io::Result<u64> {
        let mut usage = self.usage.lock();
        if usage.is_none() {
            let path = self.dir.join("lock/usage");
            let how = if self.options.read_only { Open::Read } else { Open::Create };
            *usage = match self.disk.open(&path, how) {
                // Nobody has written a large blob yet.
                Err(error) if self.options.read_only && error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
                opened => Some(opened?),
            };
        }
        let file = usage.as_ref().expect("opened above");
        file.lock()?;
        let mut bytes = [0; 8];
        let read = file.read_at(&mut bytes, 0);
        let before = read.map(|length| if length == 8 { u64::from_le_bytes(bytes) } else { 0 });
        let changed = before.and_then(|before| {
            let after = change(before);
            if after != before {
                file.write_at(&after.to_le_bytes(), 0)?;
            }
            Ok(after)
        });
        file.unlock()?;
        changed
    }

    /// Counts a corrupted entry.
    pub(crate) fn count_corrupted(&self) {
        self.counters.corrupted.fetch_add(1, Ordering::Relaxed);
    }
}

fn read_format(disk: &dyn Disk, dir: &Path) -> Option<String> {
    let file = disk.open(&dir.join("format"), Open::Read).ok()?;
    let mut bytes = vec![0; 256];
    let length = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(length);
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty())
}

fn create(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    for room in ROOMS {
        disk.create_dir_all(&dir.join(room))?;
    }
    let temporary = dir.join("tmp").join(format!("format-{:016x}", disk.random()));
    let file = disk.open(&temporary, Open::CreateNew)?;
    file.write_at(format!("{FORMAT}\n").as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&temporary, &dir.join("format"))?;
    disk.sync_dir(dir)
}
