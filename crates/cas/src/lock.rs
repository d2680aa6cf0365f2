//! Eviction against use, between threads and between processes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::disk::{Disk, DiskFile, Open};

/// A lock that lookups hold shared while they record uses, and eviction holds alone while it decides and removes. So an
/// entry that was found and marked as used is not removed by a decision made before the mark.
#[derive(Debug)]
pub(crate) struct EvictionLock {
    threads: RwLock<()>,
    /// Between processes; none when the directory allows no lock file, and then nothing evicts either.
    file: Option<Arc<dyn DiskFile>>,
    /// Threads of this process that share `file`'s lock: it belongs to the opened file, not to a thread.
    sharers: Mutex<usize>,
}

impl EvictionLock {
    pub(crate) fn open(disk: &dyn Disk, path: &Path, writable: bool) -> io::Result<Self> {
        let file = match disk.open(path, if writable { Open::Create } else { Open::Read }) {
            Ok(file) => Some(file),
            Err(_) if !writable => None,
            Err(error) => return Err(error),
        };
        Ok(Self { threads: RwLock::new(()), file, sharers: Mutex::new(0) })
    }

    pub(crate) fn shared(&self) -> io::Result<Shared<'_>> {
        let threads = self.threads.read();
        let mut sharers = self.sharers.lock();
        if let (0, Some(file)) = (*sharers, &self.file) {
            file.lock_shared()?;
        }
        *sharers += 1;
        drop(sharers);
        Ok(Shared { lock: self, _threads: threads })
    }

    pub(crate) fn exclusive(&self) -> io::Result<Exclusive<'_>> {
        let threads = self.threads.write();
        if let Some(file) = &self.file {
            file.lock()?;
        }
        Ok(Exclusive { lock: self, _threads: threads })
    }

    fn unlock(&self) {
        // The kernel refuses to unlock only what is no lock; and the lock ends with the process.
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.unlock()) {
            tracing::warn!(%error, "cannot unlock the cache's eviction lock");
        }
    }
}

/// Shared, until dropped.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    lock: &'a EvictionLock,
    _threads: RwLockReadGuard<'a, ()>,
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut sharers = self.lock.sharers.lock();
        *sharers -= 1;
        if *sharers == 0 {
            self.lock.unlock();
        }
    }
}

/// Held alone, until dropped.
#[derive(Debug)]
pub(crate) struct Exclusive<'a> {
    lock: &'a EvictionLock,
    _threads: RwLockWriteGuard<'a, ()>,
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.lock.unlock();
    }
}
