//! What is sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bazel_remote_apis::google::bytestream::ReadRequest;
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use serde::Serialize;
use tonic::Request;

use super::LoadOptions;
use super::content::blob;
use crate::client::{RemoteCache, RemoteError};
use crate::compress::Compressor;

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

    const fn is_large(self) -> bool {
        matches!(self, Self::StreamWriteLarge | Self::StreamReadLarge)
    }
}

/// Ranges of blob numbers, far apart, so that workloads do not write each other's.
const SMALL: u64 = 0;
const STREAMED: u64 = 1 << 40;
const LARGE: u64 = 2 << 40;
const ACTION: u64 = 3 << 40;
const ABSENT: u64 = 4 << 40;
/// Small blobs, streams and actions that reads cycle through.
const WORKING_SET: u64 = 2000;
/// Most large blobs of a run: they take space.
const MAX_LARGE: u64 = 32;

/// One run over its connections.
pub(super) struct Run {
    options: LoadOptions,
    connections: Vec<RemoteCache>,
    seed: u64,
    small: AtomicU64,
    streamed: AtomicU64,
    large: AtomicU64,
    actions: AtomicU64,
    /// Digests of the first small blobs, so that the client does not hash them again for each request.
    digests: OnceLock<Vec<Digest>>,
}

/// A request, ready to be sent.
pub(super) enum Prepared {
    Update(Vec<(Digest, Bytes)>),
    BatchRead(Vec<Digest>),
    Find(Vec<Digest>),
    Write(Digest, Bytes),
    Read(Digest),
    PutAction(Digest, Box<reapi::ActionResult>),
    GetAction(Digest),
}

/// What a request did.
pub(super) struct Done {
    pub(super) items: u64,
    pub(super) bytes: u64,
}

impl Run {
    pub(super) fn new(options: LoadOptions, connections: Vec<RemoteCache>) -> Arc<Self> {
        // A random number: the low half of a version 4 UUID.
        let (_, seed) = uuid::Uuid::new_v4().as_u64_pair();
        Arc::new(Self {
            options,
            connections,
            seed,
            small: AtomicU64::new(0),
            streamed: AtomicU64::new(0),
            large: AtomicU64::new(0),
            actions: AtomicU64::new(0),
            digests: OnceLock::new(),
        })
    }

    pub(super) fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// Requests in flight: large streams keep a connection each busy.
    pub(super) fn lanes(&self, workload: Workload) -> usize {
        let lanes = self.options.in_flight.max(1);
        if workload.is_large() { lanes.min(self.connections.len()) } else { lanes }
    }

    pub(super) fn limit(&self, workload: Workload) -> u64 {
        let limit = self.options.requests;
        if workload == Workload::StreamWriteLarge { limit.min(MAX_LARGE) } else { limit }
    }

    fn per_batch(&self) -> u64 {
        (self.options.batch / self.options.small.max(1)).max(1) as u64
    }

    /// Writes what a read needs when nothing did before.
    pub(super) async fn prepare(&self, workload: Workload) -> Result<(), RemoteError> {
        let cache = &self.connections[0];
        match workload {
            Workload::BatchRead | Workload::FindMissing | Workload::ActionUpdate | Workload::StreamReadSmall
                if self.small.load(Ordering::Relaxed) == 0 && self.streamed.load(Ordering::Relaxed) == 0 =>
            {
                let blobs: Vec<_> = (0..WORKING_SET).map(|number| self.small_blob(number)).collect();
                cache.write(&blobs).await?;
                self.small.store(WORKING_SET, Ordering::Relaxed);
            }
            Workload::ActionGet if self.actions.load(Ordering::Relaxed) == 0 => {
                let (digest, bytes) = self.small_blob(0);
                cache.write(&[(digest, bytes)]).await?;
                for number in 0..100 {
                    cache.put_action_result(&self.action(number), &result(&digest)).await?;
                }
                self.actions.store(100, Ordering::Relaxed);
            }
            Workload::StreamReadLarge if self.large.load(Ordering::Relaxed) == 0 => {
                let (digest, bytes) = blob(self.seed, LARGE, self.options.large);
                cache.write_stream(&digest, bytes).await?;
                self.large.store(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers what was written.
    pub(super) fn finish(&self, workload: Workload, requests: u64) {
        match workload {
            Workload::BatchUpdate => self.small.store(requests * self.per_batch(), Ordering::Relaxed),
            Workload::StreamWriteSmall => self.streamed.store(requests, Ordering::Relaxed),
            Workload::StreamWriteLarge => self.large.store(requests, Ordering::Relaxed),
            Workload::ActionUpdate => self.actions.store(requests, Ordering::Relaxed),
            _ => {}
        }
    }

    fn small_blob(&self, number: u64) -> (Digest, Bytes) {
        blob(self.seed, SMALL + number, self.options.small)
    }

    fn action(&self, number: u64) -> Digest {
        blob(self.seed, ACTION + number, 64).0
    }

    /// A small blob that is there, the `number`th in a cycle.
    fn written(&self, number: u64) -> Digest {
        let digests = self.digests.get_or_init(|| {
            let (base, count) = match self.small.load(Ordering::Relaxed) {
                0 => (STREAMED, self.streamed.load(Ordering::Relaxed)),
                small => (SMALL, small),
            };
            (0..count.clamp(1, WORKING_SET))
                .map(|number| blob(self.seed, base + number, self.options.small).0)
                .collect()
        });
        // The remainder is below the number of digests in memory.
        digests[usize::try_from(number % digests.len() as u64).unwrap_or(0)]
    }

    pub(super) fn request(&self, workload: Workload, number: u64) -> Prepared {
        let per_batch = self.per_batch();
        match workload {
            Workload::BatchUpdate => {
                Prepared::Update((0..per_batch).map(|index| self.small_blob(number * per_batch + index)).collect())
            }
            Workload::BatchRead => {
                Prepared::BatchRead((0..per_batch).map(|index| self.written(number * per_batch + index)).collect())
            }
            Workload::FindMissing => {
                // Digests of nothing need no content: a hash of a number will do.
                let absent = |number: u64| {
                    let digest = DigestFunction::Sha256.digest(&(self.seed ^ (ABSENT + number)).to_le_bytes());
                    Digest::new(DigestFunction::Sha256, digest.hash(), self.options.small as u64)
                };
                let digests = self.options.digests as u64;
                let digest = |index: u64| {
                    if index.is_multiple_of(2) { self.written(index) } else { absent(number * digests + index) }
                };
                Prepared::Find((0..digests).map(digest).collect())
            }
            Workload::StreamWriteSmall => {
                let (digest, bytes) = blob(self.seed, STREAMED + number, self.options.small);
                Prepared::Write(digest, bytes)
            }
            Workload::StreamReadSmall => Prepared::Read(self.written(number)),
            Workload::StreamWriteLarge => {
                let (digest, bytes) = blob(self.seed, LARGE + number, self.options.large);
                Prepared::Write(digest, bytes)
            }
            Workload::StreamReadLarge => {
                let large = self.large.load(Ordering::Relaxed).max(1);
                Prepared::Read(blob(self.seed, LARGE + number % large, self.options.large).0)
            }
            Workload::ActionUpdate => Prepared::PutAction(self.action(number), Box::new(result(&self.written(number)))),
            Workload::ActionGet => {
                Prepared::GetAction(self.action(number % self.actions.load(Ordering::Relaxed).max(1)))
            }
        }
    }

    pub(super) async fn send(&self, lane: usize, request: Prepared) -> Result<Done, RemoteError> {
        let cache = &self.connections[lane % self.connections.len()];
        let done = |items: usize, bytes: usize| Done { items: items as u64, bytes: bytes as u64 };
        let lost = |what: String| RemoteError::Answer { target: cache.target(), what };
        match request {
            Prepared::Update(blobs) => {
                cache.write_batch(&blobs).await?;
                Ok(done(blobs.len(), blobs.iter().map(|(_, bytes)| bytes.len()).sum()))
            }
            Prepared::BatchRead(digests) => {
                let blobs = cache.read_batch(&digests).await?;
                if blobs.len() != digests.len() {
                    return Err(lost(format!("lacks {} blobs that were acknowledged", digests.len() - blobs.len())));
                }
                Ok(done(blobs.len(), blobs.iter().map(|(_, bytes)| bytes.len()).sum()))
            }
            Prepared::Find(digests) => {
                let missing = cache.find_missing(&digests).await?;
                if missing.len() != digests.len() / 2 {
                    return Err(lost(format!("says that {} of {} blobs are missing", missing.len(), digests.len())));
                }
                Ok(done(digests.len(), 0))
            }
            Prepared::Write(digest, bytes) => {
                let size = bytes.len();
                cache.write_plain(&digest, bytes).await?;
                Ok(done(1, size))
            }
            Prepared::Read(digest) => {
                let bytes = self.read(cache, &digest).await?;
                let bytes = bytes.ok_or_else(|| lost(format!("lacks {digest}, which was acknowledged")))?;
                Ok(done(1, bytes))
            }
            Prepared::PutAction(action, result) => {
                cache.put_action_result(&action, &result).await?;
                Ok(done(1, 0))
            }
            Prepared::GetAction(action) => match cache.action_result(&action).await? {
                Some(_) => Ok(done(1, 0)),
                None => Err(lost(format!("lacks the result of {action}, which was acknowledged"))),
            },
        }
    }

    /// Reads a stream without compression and without keeping it; small blobs are verified, large ones only counted, so
    /// that the client's hashing is not what is measured.
    async fn read(&self, cache: &RemoteCache, digest: &Digest) -> Result<Option<usize>, RemoteError> {
        let name = cache.resource("", Compressor::Identity, digest);
        let request = ReadRequest { resource_name: name, read_offset: 0, read_limit: 0 };
        let failed = |status| cache.failed("read a blob from", status);
        let mut stream = match cache.streams().read(Request::new(request)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
            Err(status) => return Err(failed(status)),
        };
        let mut hasher = (digest.size() <= self.options.small as u64).then(|| digest.function().hasher());
        let mut size = 0;
        while let Some(piece) = stream.message().await.map_err(failed)? {
            size += piece.data.len();
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece.data);
            }
        }
        let wrong = hasher.is_some_and(|hasher| hasher.finish() != *digest) || size as u64 != digest.size();
        if wrong {
            return Err(RemoteError::Answer { target: cache.target(), what: format!("is not {digest}") });
        }
        Ok(Some(size))
    }
}

fn result(output: &Digest) -> reapi::ActionResult {
    let file = reapi::OutputFile { path: "out".into(), digest: Some(output.to_reapi()), ..Default::default() };
    reapi::ActionResult { output_files: vec![file], ..Default::default() }
}
