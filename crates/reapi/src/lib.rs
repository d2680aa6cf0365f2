//! The caching side of Bazel's Remote Execution API over the store of `buildnet-cas`, its client, and a load generator.
//!
//! [`CacheService`] is one cache as all protocols see it: the store, the instances, who may do what, and what is counted.
//! [`router`] serves it over gRPC; `buildnet-http-cache` serves the same one over HTTP. The choices behind it:
//! `docs/design/reapi.md`.

pub mod access;
pub mod backing;
pub mod client;
mod compress;
mod curate;
mod digests;
pub mod explain;
mod frame;
pub mod load;
pub mod metrics;
pub mod namespace;
mod origins;
mod prompt;
pub mod provenance;
mod resource;
mod server;
mod service;
mod slots;
pub mod source;
mod status;

pub use crate::access::{Access, AccessError, ClientCertificate, Identity, Role, TokenLine};
pub use crate::backing::{Backing, BackingStats, EntryKey, Removal, Wanted};
pub use crate::client::{RemoteCache, RemoteError, TlsOptions};
pub use crate::curate::{Purge, Purged, PurgedEntry};
pub use crate::metrics::Metrics;
pub use crate::origins::{OriginRule, Origins, RuleError};
pub use crate::server::{Protocol, admit, router};
pub use crate::service::{CacheError, CacheOptions, CacheService, Limits, NamedEntry};
pub use crate::slots::Hangup;
