//! What stands behind a cache: another REAPI cache, or an object store.
//!
//! A [`Backend`] is the far side: plain operations that may fail. A [`Tier`] makes of it what a cache can rely on: it reads through
//! (verified, each thing once, however many ask), writes back (bounded, in the background, with retries), and leaves a far side that
//! fails alone for a while. The choices behind it: `docs/design/tiers.md`.

mod address;
pub mod archive;
mod backend;
mod breaker;
mod error;
mod flight;
mod forgotten;
mod pull;
mod queue;
mod reapi;
mod references;
mod s3;
mod seen;
mod tier;
mod upload;

pub use crate::address::{Credentials, open};
pub use crate::backend::Backend;
pub use crate::error::{BackendError, Failure};
pub use crate::reapi::ReapiBackend;
pub use crate::s3::{S3Backend, S3Location, Sweep, SweepReport};
pub use crate::tier::{Pending, Tier, TierOptions, Trouble};
