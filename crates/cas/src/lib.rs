//! Content-addressable storage and action cache, on disk.
//!
//! One directory holds both, for many processes at once. Small blobs and action results are records in append-only
//! segments, made durable by group commit; large blobs are files that can be hard-linked. Layouts, invariants and what
//! the disk is assumed to do: `docs/design/cas.md`.

mod actions;
mod append;
mod blob;
mod buffers;
mod cached;
mod core;
mod disk;
mod error;
mod evict;
mod fresh;
mod index;
mod large;
mod lease;
mod lock;
mod lookup;
mod note;
mod options;
mod packed;
mod place;
mod put;
mod record;
mod references;
mod segment;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod simulation;
mod store;
mod submit;
mod table;
mod verify;

pub use crate::blob::{BlobReader, BlobWriter};
pub use crate::cached::Cached;
pub use crate::error::CasError;
pub use crate::lease::Lease;
pub use crate::options::{Durability, GcReport, Sharing, StoreOptions, StoreStats, VerifyReport};
pub use crate::store::Store;
