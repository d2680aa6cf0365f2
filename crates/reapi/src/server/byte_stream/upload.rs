//! Uploads in progress, and interrupted ones that may be resumed.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use buildnet_cas::{BlobWriter, CasError};
use parking_lot::Mutex;

use crate::access::Identity;
use crate::compress::Expander;
use crate::resource::Resource;
use crate::service::{CacheError, CacheService, Limits};

/// One upload: what came so far.
pub(super) struct Upload {
    sink: Expander<BlobWriter>,
    /// The offset that the next request must have: where the stream began in the blob, plus the bytes that it brought, as they
    /// came. (REAPI adds up uncompressed and compressed bytes here.)
    pub(super) next: u64,
    /// Bytes of the blob that are here, where others can see them.
    progress: Arc<AtomicU64>,
    size: u64,
}

impl Upload {
    pub(super) fn start(service: &CacheService, resource: &Resource) -> Result<Self, CacheError> {
        let size = resource.digest.size();
        let writer = service.store().writer(resource.digest)?;
        let sink = Expander::new(resource.compressor, writer, size).map_err(|error| invalid(&error))?;
        Ok(Self { sink, next: 0, progress: Arc::default(), size })
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.sink.take(bytes).map_err(write_error)?;
        self.next += bytes.len() as u64;
        self.progress.store(self.committed(), Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of the blob that are here: the offset at which another stream may go on.
    pub(super) fn committed(&self) -> u64 {
        self.size - self.sink.left()
    }

    /// Prepares for another stream: a compressed one starts anew, with what follows the bytes that are here.
    pub(super) fn restart(self) -> io::Result<Self> {
        let mut upload = Self { sink: self.sink.restart()?, ..self };
        upload.next = upload.committed();
        upload.progress.store(upload.next, Ordering::Relaxed);
        Ok(upload)
    }

    /// Verifies the blob and makes it part of the store.
    pub(super) fn finish(self) -> Result<(), CacheError> {
        Ok(self.sink.finish().map_err(write_error)?.commit()?)
    }
}

fn invalid(error: &io::Error) -> CacheError {
    CacheError::Invalid { message: error.to_string() }
}

/// An expander's error is the client's mistake, unless the disk said no.
pub(super) fn write_error(source: io::Error) -> CacheError {
    let path = "upload".into();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CasError::DiskFull { path, source }.into(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound => {
            CacheError::Io { action: "write", path, source }
        }
        _ if source.raw_os_error().is_some() => CacheError::Io { action: "write", path, source },
        _ => invalid(&source),
    }
}

/// Who uploads, and the whole resource name: another client cannot see or take over an upload by guessing its name.
type Key = (Arc<str>, String);

struct Slot {
    progress: Arc<AtomicU64>,
    /// Absent while a stream feeds it.
    parked: Option<Upload>,
    touched: Instant,
}

/// All uploads of a server. Bounded by number, bytes and age.
pub(super) struct Uploads {
    slots: Mutex<HashMap<Key, Slot>>,
    max_parked: usize,
    max_bytes: u64,
    max_age: Duration,
}

impl Uploads {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            slots: Mutex::default(),
            max_parked: limits.max_parked_uploads,
            max_bytes: limits.max_parked_bytes,
            max_age: limits.parked,
        }
    }

    /// Bytes of an unfinished upload that are here.
    pub(super) fn committed(&self, identity: &Identity, name: &str) -> Option<u64> {
        let slots = self.slots.lock();
        let slot = slots.get(&(Arc::clone(&identity.name), name.to_owned()))?;
        Some(slot.progress.load(Ordering::Relaxed))
    }

    /// Takes an interrupted upload up again.
    pub(super) fn resume(&self, identity: &Identity, name: &str) -> Option<Upload> {
        self.slots.lock().get_mut(&(Arc::clone(&identity.name), name.to_owned()))?.parked.take()
    }

    /// Makes an upload that is being fed visible.
    pub(super) fn follow(&self, identity: &Identity, name: &str, upload: &Upload) {
        let slot = Slot { progress: Arc::clone(&upload.progress), parked: None, touched: Instant::now() };
        self.slots.lock().insert((Arc::clone(&identity.name), name.to_owned()), slot);
    }

    /// Keeps an interrupted upload for a while.
    pub(super) fn park(&self, identity: &Identity, name: &str, upload: Upload) {
        // What cannot be expanded has no good part that could be kept.
        let Ok(upload) = upload.restart() else { return self.forget(identity, name) };
        let mut slots = self.slots.lock();
        let now = Instant::now();
        slots.retain(|_, slot| slot.parked.is_none() || now.duration_since(slot.touched) < self.max_age);
        let parked = slots.values().filter_map(|slot| slot.parked.as_ref());
        let (count, bytes) = parked.fold((0, 0), |(count, bytes), upload| (count + 1, bytes + upload.size));
        let key = (Arc::clone(&identity.name), name.to_owned());
        if count >= self.max_parked || bytes + upload.size > self.max_bytes {
            slots.remove(&key);
            return;
        }
        let progress = Arc::clone(&upload.progress);
        slots.insert(key, Slot { progress, parked: Some(upload), touched: now });
    }

    /// Forgets an upload that ended.
    pub(super) fn forget(&self, identity: &Identity, name: &str) {
        self.slots.lock().remove(&(Arc::clone(&identity.name), name.to_owned()));
    }
}
