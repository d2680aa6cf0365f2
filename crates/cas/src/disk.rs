//! The disk, as the store sees it: what a simulation replaces to lose, tear and refuse writes.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::ReadWriteFlags;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; created when missing.
    Create,
    /// For reading and writing; it must not exist.
    CreateNew,
    /// Like `CreateNew`; later opens find it write-protected, because others may hold hard links to it.
    CreateProtected,
}

/// A file system with a clock and a source of randomness.
pub(crate) trait Disk: Debug + Send + Sync {
    /// Creates the directory and its parents.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// Names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Size of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// A number that differs from every earlier one if names in the directory have changed since.
    fn dir_version(&self, dir: &Path) -> io::Result<u64>;
    /// Differs after each start of the operating system: unsynced writes of another boot may be lost.
    fn boot(&self) -> u64;
    /// An unpredictable number.
    fn random(&self) -> u64;
    /// Time since 1970.
    fn now(&self) -> Duration;
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may.
    Yes,
    /// What is not in memory is a `WouldBlock` error.
    No,
}

/// An open file. Locks are advisory, belong to this opening of the file, and end with it or with the process.
pub(crate) trait DiskFile: Debug + Send + Sync {
    /// Reads at an offset; short only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads at an offset what is all in the kernel's memory; else a `WouldBlock` error, as also at the file's end.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads at an offset.
    fn read_by(&self, buffer: &mut [u8], offset: u64, wait: Wait) -> io::Result<usize> {
        match wait {
            Wait::Yes => self.read_at(buffer, offset),
            Wait::No => self.read_cached_at(buffer, offset),
        }
    }
    /// Writes all bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Lets the disk begin with a range that was written, so that a later [`Self::sync`] waits for little. Says nothing of
    /// whether it succeeds: the sync does.
    fn start_writing(&self, _offset: u64, _length: u64) {}
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes content and size durable.
    fn sync(&self) -> io::Result<()>;
    /// Takes the exclusive lock if nobody holds any.
    fn try_lock(&self) -> io::Result<bool>;
    /// Waits for the exclusive lock.
    fn lock(&self) -> io::Result<()>;
    /// Waits for a shared lock.
    fn lock_shared(&self) -> io::Result<()>;
    /// Gives the lock back.
    fn unlock(&self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct RealDisk {
    random: std::hash::RandomState,
    boot: u64,
}

impl RealDisk {
    pub(crate) fn new() -> Self {
        // Where there is no boot id, no two openings trust each other's unsynced files: slower, never wrong.
        let random = std::hash::RandomState::new();
        let boot = match std::fs::read("/proc/sys/kernel/random/boot_id") {
            Ok(id) => u64::from(crc32fast::hash(&id)) | u64::from(crc32fast::hash(&[&id[..], b"+"].concat())) << 32,
            Err(_) => random.hash_one("boot"),
        };
        Self { random, boot }
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read);
        match how {
            Open::Read | Open::Write => {}
            Open::Create => {
                options.create(true);
            }
            Open::CreateNew => {
                options.create_new(true);
            }
            Open::CreateProtected => {
                options.create_new(true).mode(0o444);
            }
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // Names that are no UTF-8 are not ours.
        std::fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::symlink_metadata(path)?.len())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn dir_version(&self, dir: &Path) -> io::Result<u64> {
        let nanos = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos()))
        };
        let modified = nanos(std::fs::metadata(dir)?.modified()?);
        let now = nanos(SystemTime::now());
        // Two changes within one tick of the file system's clock carry one time: a fresh time proves nothing.
        Ok(if now.abs_diff(modified) < 20_000_000 { now } else { modified })
    }

    fn boot(&self) -> u64 {
        self.boot
    }

    fn random(&self) -> u64 {
        self.random.hash_one((SystemTime::now(), std::process::id(), next()))
    }

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Counts up in this process.
fn next() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = buffer.len();
        // File systems that cannot say refuse the flag.
        let read = rustix::io::preadv2(self, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
        match read {
            Ok(count) if count == length => Ok(count),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn start_writing(&self, offset: u64, length: u64) {
        let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
        // Without the flags that wait, it reports no failed write and marks none as reported.
        #[expect(unsafe_code, reason = "no safe library has this call")]
        // SAFETY: it takes no pointers, and the descriptor belongs to `self`.
        let _ = unsafe { libc::sync_file_range(self.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock(&self) -> io::Result<()> {
        File::lock(self)
    }

    fn lock_shared(&self) -> io::Result<()> {
        File::lock_shared(self)
    }

    fn unlock(&self) -> io::Result<()> {
        File::unlock(self)
    }
}
