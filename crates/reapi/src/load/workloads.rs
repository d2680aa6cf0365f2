//! What can be measured.

use serde::Serialize;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// BatchUpdateBlobs of new small blobs.
    BatchUpdate,
    /// BatchReadBlobs of what was written.
    BatchRead,
    /// FindMissingBlobs, half of the digests present.
    FindMissing,
    /// ByteStream writes of new small blobs, one each.
    StreamWriteSmall,
    /// ByteStream reads of small blobs, one each.
    StreamReadSmall,
    /// UpdateActionResult with one output that is there.
    ActionUpdate,
    /// GetActionResult of what was stored.
    ActionGet,
    /// ByteStream writes of new large blobs.
    StreamWriteLarge,
    /// ByteStream reads of large blobs.
    StreamReadLarge,
}

impl Workload {
    /// All, in an order in which each finds what it needs.
    pub const ALL: [Self; 9] = [
        Self::BatchUpdate,
        Self::BatchRead,
        Self::FindMissing,
        Self::StreamWriteSmall,
        Self::StreamReadSmall,
        Self::ActionUpdate,
        Self::ActionGet,
        Self::StreamWriteLarge,
        Self::StreamReadLarge,
    ];

    /// The name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BatchUpdate => "batch-update",
            Self::BatchRead => "batch-read",
            Self::FindMissing => "find-missing",
            Self::StreamWriteSmall => "stream-write-small",
            Self::StreamReadSmall => "stream-read-small",
            Self::ActionUpdate => "action-update",
            Self::ActionGet => "action-get",
            Self::StreamWriteLarge => "stream-write-large",
            Self::StreamReadLarge => "stream-read-large",
        }
    }

    /// The workload with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// What is counted beside requests.
    pub const fn item(self) -> &'static str {
        match self {
            Self::BatchUpdate | Self::BatchRead => "blobs",
            Self::FindMissing => "digests",
            _ => "requests",
        }
    }

    /// Whether it stores content.
    pub(super) const fn stores(self) -> bool {
        matches!(self, Self::BatchUpdate | Self::StreamWriteSmall | Self::StreamWriteLarge)
    }

    pub(super) const fn is_large(self) -> bool {
        matches!(self, Self::StreamWriteLarge | Self::StreamReadLarge)
    }
}
