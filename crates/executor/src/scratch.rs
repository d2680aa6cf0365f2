//! Where execution roots lie: on disk beside the workspace, and in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::ExecutorError;

/// Tells the executors of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The scratch directories of one executor; removed with the last handle.
#[derive(Debug)]
pub(crate) struct Scratch {
    disk: PathBuf,
    memory: Option<PathBuf>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Numbers whose directories are empty and wait to be used again.
    free: Vec<u64>,
    next: u64,
}

/// A place for one execution root, for nobody else until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    scratch: Arc<Scratch>,
    number: u64,
    spoiled: bool,
}

impl Scratch {
    /// Makes the directories. What dead processes left beside them is removed.
    pub(crate) fn open(disk: &Path, memory: Option<&Path>) -> Result<Self, ExecutorError> {
        let memory = memory.and_then(private_directory);
        sweep(disk);
        if let Some(memory) = &memory {
            sweep(memory);
        }
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let disk = disk.join(&name);
        std::fs::create_dir_all(&disk).map_err(ExecutorError::io("create", disk.display().to_string()))?;
        Ok(Self { disk, memory: memory.map(|memory| memory.join(name)), slots: Mutex::default() })
    }

    /// A free place.
    pub(crate) fn slot(scratch: &Arc<Self>) -> Slot {
        let mut slots = scratch.slots.lock();
        let number = slots.free.pop().unwrap_or(slots.next);
        slots.next = slots.next.max(number + 1);
        Slot { scratch: Arc::clone(scratch), number, spoiled: false }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for directory in [Some(&self.disk), self.memory.as_ref()].into_iter().flatten() {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Slot {
    /// Its directory on disk, which may be there already, and empty.
    pub(crate) fn disk(&self) -> PathBuf {
        self.scratch.disk.join(self.number.to_string())
    }

    /// Its directory in memory, if there is one.
    pub(crate) fn memory(&self) -> Option<PathBuf> {
        Some(self.scratch.memory.as_ref()?.join(self.number.to_string()))
    }

    /// Says that its directories could not be emptied: nobody is to use them again.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.spoiled {
            self.scratch.slots.lock().free.push(self.number);
        }
    }
}

/// A directory of this user alone below one that everybody may write to; none if there is something else at its place.
fn private_directory(shared: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let user = rustix::process::geteuid().as_raw();
    let directory = shared.join(format!("buildnet-{user}"));
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    let metadata = std::fs::symlink_metadata(&directory).ok()?;
    let private = metadata.is_dir() && metadata.uid() == user && metadata.mode().trailing_zeros() >= 6;
    private.then_some(directory)
}

/// Removes the scratch directories of processes that are gone.
fn sweep(scratch: &Path) {
    let Ok(entries) = std::fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        let alive = entry
            .file_name()
            .to_str()
            .and_then(|name| name.split('-').next()?.parse::<i32>().ok())
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        if !alive {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
