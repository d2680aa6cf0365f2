//! The far side of a tier.

use std::fmt;

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::EntryKey;
use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::error::BackendError;

/// Something that keeps blobs and results. Each call may fail, hang or lie; the [`Tier`](crate::Tier) before it sees to that.
#[tonic::async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// What it is, for people: an address without secrets.
    fn name(&self) -> String;

    /// Whether it takes digests of this function. Asked after the first successful call; until then all are taken.
    fn supports(&self, function: DigestFunction) -> bool;

    /// Whether it takes what is written, as far as that is known before trying.
    async fn writable(&self) -> Result<bool, BackendError>;

    /// Those of the digests, all of one function, whose blobs are not there.
    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BackendError>;

    /// Blobs of one function that together fit into memory; those that are not there are left out.
    async fn read(&self, digests: &[Digest]) -> Result<Vec<(Digest, Bytes)>, BackendError>;

    /// A blob in pieces; false when it is not there. Ends when nobody takes the pieces any more.
    async fn read_pieces(&self, digest: &Digest, pieces: Sender<Bytes>) -> Result<bool, BackendError>;

    /// Stores blobs of one function that together fit into memory.
    async fn write(&self, blobs: Vec<(Digest, Bytes)>) -> Result<(), BackendError>;

    /// Stores a blob from pieces. When they end before the size that the digest says, nothing is to be stored.
    async fn write_pieces(&self, digest: &Digest, pieces: Receiver<Bytes>) -> Result<(), BackendError>;

    /// What was read under this digest is something else: makes room for the right content, if it can.
    async fn discard(&self, _digest: &Digest) -> Result<(), BackendError> {
        Ok(())
    }

    /// A result.
    async fn result(&self, key: &EntryKey) -> Result<Option<reapi::ActionResult>, BackendError>;

    /// Stores a result, whose blobs are there.
    async fn put_result(&self, key: &EntryKey, result: &reapi::ActionResult) -> Result<(), BackendError>;

    /// Forgets a result; whether it was there, or none when nothing can be removed.
    async fn forget(&self, key: &EntryKey) -> Result<Option<bool>, BackendError>;
}
