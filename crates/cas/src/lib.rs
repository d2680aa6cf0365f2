//! Content-addressable storage and action cache.

mod blob;
mod error;
mod options;
mod references;
mod store;

pub use crate::blob::{BlobReader, BlobWriter};
pub use crate::error::CasError;
pub use crate::options::{Durability, GcReport, Sharing, StoreOptions, StoreStats, VerifyReport};
pub use crate::store::{Lease, Store};
