//! What `lstat` says of a file, as far as it shows a change, and digests of files that hold still.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::function::DigestFunction;

/// Times a file is hashed again when it changes under the hand.
const HASH_ATTEMPTS: u32 = 3;

/// Time within which the kernel may give two changes the same timestamp, in nanoseconds: one tick at 100 Hz, doubled.
const GRANULARITY_NS: i64 = 20_000_000;

/// Stat data that changes whenever a file's content, name list or mode does, but for changes within one clock tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Last change of the content, nanoseconds since the epoch. Users can set it.
    pub mtime_ns: i64,
    /// Last change of the inode, nanoseconds since the epoch. Users cannot set it.
    pub ctime_ns: i64,
    /// Size in bytes.
    pub size: u64,
    /// Inode number.
    pub inode: u64,
    /// File type and permission bits.
    pub mode: u32,
}

impl Stamp {
    /// From the kernel's answer.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        clippy::cast_lossless,
        clippy::cast_sign_loss,
        reason = "the field types of `stat` differ between platforms"
    )]
    pub fn of(stat: &Stat) -> Self {
        Self {
            mtime_ns: (stat.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
            ctime_ns: (stat.st_ctime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64),
            size: stat.st_size as u64,
            inode: stat.st_ino as u64,
            mode: stat.st_mode as u32,
        }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::RegularFile
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::Directory
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        rustix::fs::FileType::from_raw_mode(self.mode) == rustix::fs::FileType::Symlink
    }

    /// Whether its owner may execute it.
    pub const fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether a later change is certain to show: the last one is older than the clock's granularity.
    ///
    /// Without this, a file that is written again within the same tick as it was read would count as unchanged for ever
    /// (the "racy git" problem).
    pub fn is_settled(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.ctime_ns) > GRANULARITY_NS
    }
}

/// The present, in nanoseconds since the epoch, by the clock that file systems use.
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// A workspace's root, held open so that look-ups below it walk short paths.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: Option<OwnedFd>,
}

impl Root {
    /// Opens a root; look-ups below a root that cannot be opened all fail in their turn.
    pub fn open(path: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self { path: path.to_owned(), directory: rustix::fs::openat(CWD, path, flags, Mode::empty()).ok() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of a relative one; the empty one is the root.
    pub fn join(&self, relative: &str) -> PathBuf {
        if relative.is_empty() { self.path.clone() } else { self.path.join(relative) }
    }

    /// `lstat` of a relative path; absolute paths are taken as they are.
    pub fn stamp(&self, relative: &str) -> Result<Stamp, Errno> {
        let directory = self.directory.as_ref().ok_or(Errno::NOENT)?;
        let path = if relative.is_empty() { "." } else { relative };
        rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Stamp::of(&stat))
    }
}

/// A file that cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashFileError {
    /// It cannot be opened or read, or is no regular file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It changed each time while it was read.
    #[error("it kept changing while it was hashed")]
    Changing,
}

/// Digest of a regular file, and its stat data: taken before and after reading, and the same. Symlinks are not followed.
pub fn hash_file(path: &Path, function: DigestFunction) -> Result<(Digest, Stamp), HashFileError> {
    hash_watched(path, function, || {})
}

/// `hash_file`, calling `read_through` each time the file was read, before it is looked at again.
fn hash_watched(
    path: &Path,
    function: DigestFunction,
    mut read_through: impl FnMut(),
) -> Result<(Digest, Stamp), HashFileError> {
    let mut buffer = vec![0; 128 * 1024];
    for _ in 0..HASH_ATTEMPTS {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from)?);
        let stamp = |file: &File| rustix::fs::fstat(file).map(|stat| Stamp::of(&stat)).map_err(io::Error::from);
        let before = stamp(&file)?;
        if !before.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file").into());
        }
        let mut hasher = function.hasher();
        // One byte more than it should have is enough to see that it grows.
        while hasher.size() <= before.size {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        read_through();
        if before == stamp(&file)? && hasher.size() == before.size {
            return Ok((hasher.finish(), before));
        }
    }
    Err(HashFileError::Changing)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_changes_once_is_hashed_as_it_is_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut changes = vec!["other text"];
        let (digest, stamp) = hash_watched(&path, DigestFunction::Blake3, || {
            if let Some(text) = changes.pop() {
                std::fs::write(&path, text).unwrap();
            }
        })
        .unwrap();
        assert_eq!(digest, DigestFunction::Blake3.digest(b"other text"));
        assert_eq!(stamp.size, 10);
    }

    #[test]
    fn a_file_that_keeps_changing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = File::create(&path).unwrap();
        let result = hash_watched(&path, DigestFunction::Blake3, || file.write_all(b"more").unwrap());
        assert!(matches!(result, Err(HashFileError::Changing)), "{result:?}");
    }

    #[test]
    fn only_regular_files_are_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(hash_file(dir.path(), DigestFunction::Blake3).is_err());
        assert!(hash_file(&link, DigestFunction::Blake3).is_err(), "a symlink must not lead elsewhere");
    }
}
