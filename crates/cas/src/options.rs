//! How a store is opened and what it reports.

use std::time::Duration;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After it is on disk: survives power loss. Concurrent writers share one `fdatasync` (group commit).
    Synced,
    /// After the kernel has it: survives the death of the process. A blob torn by a power loss is detected when it is
    /// read, and counts as missing. For local builds, which can repeat what they lose.
    #[default]
    Relaxed,
}

/// How the receiver of a placed blob uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The receiver may write: it gets its own inode, by reflink where the file system can, else by copy.
    Private,
    /// The receiver only reads: it may get a hard link to the store's own file, without write permission.
    ReadOnly,
}

/// Options of [`Store::open`](crate::Store::open).
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bound of the store's size on disk in bytes; eviction keeps it below, except for what leases hold.
    pub max_bytes: u64,
    /// Opens for reading only: nothing on disk changes, not even ages.
    pub read_only: bool,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Blobs used within this time are never evicted, lease or not; what a client was told to be present stays long
    /// enough to be used. Whole seconds.
    pub grace: Duration,
    /// Whether large blobs that shrink well are stored compressed. They are then decompressed whenever they are
    /// placed, instead of being hard-linked.
    pub compress_large: bool,
}

impl Default for StoreOptions {
    /// 10 GiB, writable, relaxed, one minute of grace, large blobs as they are.
    fn default() -> Self {
        Self {
            max_bytes: 10 << 30,
            read_only: false,
            durability: Durability::Relaxed,
            grace: Duration::from_mins(1),
            compress_large: false,
        }
    }
}

/// What the store holds and what it has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Blobs in the store.
    pub blobs: u64,
    /// Action results in the store.
    pub action_results: u64,
    /// Sum of the blobs' own sizes in bytes.
    pub logical_bytes: u64,
    /// Bytes that the store takes on disk.
    pub disk_bytes: u64,
    /// Bound of the size on disk in bytes.
    pub max_bytes: u64,
    /// Lookups of blobs through this handle that found them.
    pub hits: u64,
    /// Lookups of blobs through this handle that did not.
    pub misses: u64,
    /// Blobs, records and index files found corrupted through this handle, and from then on treated as missing.
    pub corrupted: u64,
    /// Bytes of blobs stored through this handle (before compression).
    pub written_bytes: u64,
    /// Bytes of blobs read through this handle (after decompression).
    pub read_bytes: u64,
    /// Blobs and action results evicted through this handle.
    pub evicted: u64,
}

/// What a garbage collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries (blobs and action results) removed.
    pub removed: u64,
    /// Entries kept.
    pub kept: u64,
    /// Size on disk before, in bytes.
    pub bytes_before: u64,
    /// Size on disk after, in bytes.
    pub bytes_after: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs read and compared with their digests.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Digests of blobs that were corrupted; they were removed, unless the store is read-only.
    pub corrupted: Vec<buildnet_digest::Digest>,
    /// Action results checked.
    pub action_results: u64,
    /// Action results that name a blob which is not there; harmless, they count as missing.
    pub incomplete: u64,
}
