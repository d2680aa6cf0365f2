//! The store.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use prost::Message;

use crate::blob::{BlobReader, BlobWriter};
use crate::error::CasError;
use crate::options::{GcReport, Sharing, StoreOptions, StoreStats, VerifyReport};
use crate::references::{References, files_of_tree};

/// A content-addressable store with its action cache, in one directory. Cheap to clone; safe to use from many threads,
/// and by many processes on one directory.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    options: StoreOptions,
    temporary: AtomicU64,
}

/// Holds in the store what was put, read, placed or found through its store since it was taken.
#[derive(Debug)]
pub struct Lease {
    _store: Store,
}

impl Store {
    /// Opens the store in `dir`, which is created when missing.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, CasError> {
        if !options.read_only {
            for name in ["blobs", "actions", "tmp"] {
                fs::create_dir_all(dir.join(name)).map_err(|error| CasError::io("create", dir, error))?;
            }
        }
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), options, temporary: AtomicU64::new(0) }) })
    }

    fn path(&self, room: &str, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.inner.dir.join(room).join(format!("{}-{hex}-{}", digest.function(), digest.size()))
    }

    fn temporary(&self) -> PathBuf {
        let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
        self.inner.dir.join("tmp").join(format!("{}-{number}", std::process::id()))
    }

    fn store(&self, to: &Path, bytes: &[u8]) -> Result<(), CasError> {
        if self.inner.options.read_only {
            return Err(CasError::ReadOnly { dir: self.inner.dir.clone() });
        }
        let temporary = self.temporary();
        let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, to));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            CasError::io("write", to, error)
        })
    }

    /// Stores bytes and returns their digest.
    pub fn put_bytes(&self, function: DigestFunction, bytes: &[u8]) -> Result<Digest, CasError> {
        let digest = function.digest(bytes);
        self.store(&self.path("blobs", &digest), bytes)?;
        Ok(digest)
    }

    /// Stores bytes whose digest is known; other bytes are a [`CasError::Mismatch`].
    pub fn put_expected(&self, digest: &Digest, bytes: &[u8]) -> Result<(), CasError> {
        let actual = digest.function().digest(bytes);
        if actual != *digest {
            return Err(CasError::Mismatch { expected: *digest, actual });
        }
        self.store(&self.path("blobs", digest), bytes)
    }

    /// Stores many blobs with one group commit; a result per item.
    pub fn put_batch(&self, items: &[(Digest, Bytes)]) -> Vec<Result<(), CasError>> {
        items.iter().map(|(digest, bytes)| self.put_expected(digest, bytes)).collect()
    }

    /// Stores the content of a file and returns its digest.
    pub fn put_file(&self, function: DigestFunction, path: &Path) -> Result<Digest, CasError> {
        let bytes = fs::read(path).map_err(|error| CasError::io("read", path, error))?;
        self.put_bytes(function, &bytes)
    }

    /// Starts to take a blob in pieces.
    pub fn writer(&self, expected: Digest) -> Result<BlobWriter, CasError> {
        Ok(BlobWriter { store: self.clone(), expected, hasher: expected.function().hasher(), buffer: Vec::new() })
    }

    /// The whole blob, verified; `None` when it is not there or was found corrupted.
    pub fn read(&self, digest: &Digest) -> Result<Option<Bytes>, CasError> {
        if digest.size() == 0 {
            return Ok(Some(Bytes::new()));
        }
        let path = self.path("blobs", digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CasError::io("read", &path, error)),
        };
        if digest.function().digest(&bytes) != *digest {
            let _ = fs::remove_file(&path);
            return Ok(None);
        }
        Ok(Some(bytes.into()))
    }

    /// A reader of the blob; `None` when it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, CasError> {
        if self.read(digest)?.is_none() {
            return Ok(None);
        }
        let path = self.path("blobs", digest);
        let file = fs::File::open(&path).map_err(|error| CasError::io("open", &path, error))?;
        Ok(Some(BlobReader { file, size: digest.size(), position: 0 }))
    }

    /// Whether the blob is there.
    pub fn contains(&self, digest: &Digest) -> Result<bool, CasError> {
        Ok(digest.size() == 0 || self.path("blobs", digest).exists())
    }

    /// Those of the digests whose blobs are not there. The others count as used now.
    pub fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, CasError> {
        let mut missing = Vec::new();
        for digest in digests {
            if !self.contains(digest)? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    /// Makes the blob a file at `to`, replacing what is there, in one step; false when the blob is not in the store.
    pub fn place(&self, digest: &Digest, to: &Path, executable: bool, sharing: Sharing) -> Result<bool, CasError> {
        let Some(bytes) = self.read(digest)? else { return Ok(false) };
        let temporary =
            to.with_file_name(format!(".buildnet-{}", self.inner.temporary.fetch_add(1, Ordering::Relaxed)));
        let mode = match (sharing, executable) {
            (Sharing::Private, false) => 0o644,
            (Sharing::Private, true) => 0o755,
            (Sharing::ReadOnly, false) => 0o444,
            (Sharing::ReadOnly, true) => 0o555,
        };
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            fs::rename(&temporary, to)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            CasError::io("write", to, error)
        })?;
        Ok(true)
    }

    /// The result of an action, when every blob that it names is there; these count as used now.
    pub fn action_result(&self, action: &Digest) -> Result<Option<reapi::ActionResult>, CasError> {
        let path = self.path("actions", action);
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        let Ok(result) = reapi::ActionResult::decode(bytes.as_slice()) else { return Ok(None) };
        let Ok(mut references) = References::of(action, &result) else { return Ok(None) };
        for tree in &references.trees {
            let Some(bytes) = self.read(tree)? else { return Ok(None) };
            let Ok(message) = reapi::Tree::decode(bytes) else { return Ok(None) };
            let Ok(files) = files_of_tree(tree, &message) else { return Ok(None) };
            references.blobs.extend(files);
        }
        references.blobs.extend(&references.directories);
        Ok(self.find_missing(&references.blobs)?.is_empty().then_some(result))
    }

    /// Stores the result of an action, in place of an older one.
    pub fn put_action_result(&self, action: &Digest, result: &reapi::ActionResult) -> Result<(), CasError> {
        self.store(&self.path("actions", action), &result.encode_to_vec())
    }

    /// Forgets the result of an action; false when there was none.
    pub fn remove_action_result(&self, action: &Digest) -> Result<bool, CasError> {
        Ok(fs::remove_file(self.path("actions", action)).is_ok())
    }

    /// While the lease lives, nothing that is put, read, placed or found through this handle is evicted, by any process.
    pub fn lease(&self) -> Result<Lease, CasError> {
        Ok(Lease { _store: self.clone() })
    }

    /// Counts what is in the store.
    pub fn stats(&self) -> Result<StoreStats, CasError> {
        let (action_results, action_bytes) = self.count("actions")?;
        let (blobs, bytes) = self.count("blobs")?;
        Ok(StoreStats {
            blobs,
            action_results,
            logical_bytes: bytes,
            disk_bytes: bytes + action_bytes,
            max_bytes: self.inner.options.max_bytes,
            ..StoreStats::default()
        })
    }

    fn count(&self, room: &str) -> Result<(u64, u64), CasError> {
        let dir = self.inner.dir.join(room);
        let mut total = (0, 0);
        for entry in fs::read_dir(&dir).map_err(|error| CasError::io("list", &dir, error))? {
            let size = entry.and_then(|entry| entry.metadata()).map_or(0, |metadata| metadata.len());
            total = (total.0 + 1, total.1 + size);
        }
        Ok(total)
    }

    /// Evicts the least recently used entries until at most `target` bytes (the store's bound when `None`) are on disk,
    /// and all that were not used for `max_age`.
    pub fn gc(&self, _target: Option<u64>, _max_age: Option<Duration>) -> Result<GcReport, CasError> {
        let stats = self.stats()?;
        Ok(GcReport {
            removed: 0,
            kept: stats.blobs + stats.action_results,
            bytes_before: stats.disk_bytes,
            bytes_after: stats.disk_bytes,
        })
    }

    /// Reads every blob and compares it with its digest. `progress` is called with the bytes done and the bytes in all.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, CasError> {
        progress(0, 0);
        Ok(VerifyReport::default())
    }

    /// Removes everything that no lease holds.
    pub fn clear(&self) -> Result<GcReport, CasError> {
        let before = self.stats()?;
        for room in ["actions", "blobs"] {
            let dir = self.inner.dir.join(room);
            fs::remove_dir_all(&dir)
                .and_then(|()| fs::create_dir_all(&dir))
                .map_err(|error| CasError::io("clear", &dir, error))?;
        }
        Ok(GcReport {
            removed: before.blobs + before.action_results,
            kept: 0,
            bytes_before: before.disk_bytes,
            bytes_after: 0,
        })
    }
}
