//! Leases: what a running build uses stays.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::core::Core;
use crate::disk::{DiskFile, Open};
use crate::error::CasError;

/// Holds in the store what was put, read, placed or found through any handle of its store since it was taken. Ends when
/// it is dropped, or with the process.
#[derive(Debug)]
pub struct Lease {
    core: Arc<Core>,
    /// A file with the start in seconds since 1970, locked while the lease lives; none in a read-only store.
    file: Option<(PathBuf, Arc<dyn DiskFile>)>,
}

impl Lease {
    pub(crate) fn take(core: &Arc<Core>) -> Result<Self, CasError> {
        if core.options.read_only {
            return Ok(Self { core: Arc::clone(core), file: None });
        }
        let path = core.dir.join("leases").join(format!("{:016x}", core.disk.random()));
        let create = || -> io::Result<Arc<dyn DiskFile>> {
            // Eviction removes leases that nobody has locked; it must not meet this one before it is locked.
            let _guard = core.eviction.shared()?;
            let file = core.disk.open(&path, Open::CreateNew)?;
            file.try_lock()?;
            let now = core.now();
            file.write_at(&now.to_le_bytes(), 0)?;
            core.newest_lease.fetch_max(u64::from(now), Ordering::AcqRel);
            Ok(file)
        };
        let file = create().map_err(|error| CasError::io("create the lease", &path, error))?;
        Ok(Self { core: Arc::clone(core), file: Some((path, file)) })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.file {
            // If it stays, the next eviction finds it without a lock and removes it.
            let _ = self.core.disk.remove(path);
        }
    }
}

impl Core {
    /// The earliest start of a living lease, in seconds since 1970. Removes those of dead processes. The caller has the
    /// eviction lock alone.
    pub(crate) fn earliest_lease(&self) -> io::Result<Option<u32>> {
        let dir = self.dir.join("leases");
        let mut earliest = None;
        for name in crate::index::list(&*self.disk, &dir)? {
            let path = dir.join(name);
            let Ok(file) = self.disk.open(&path, Open::Write) else { continue };
            if file.try_lock()? {
                self.disk.remove(&path)?;
                continue;
            }
            let mut bytes = [0; 4];
            // One that cannot be read holds everything, rather than nothing.
            let start = if file.read_at(&mut bytes, 0)? == 4 { u32::from_le_bytes(bytes) } else { 0 };
            earliest = Some(earliest.map_or(start, |known: u32| known.min(start)));
        }
        Ok(earliest)
    }
}
