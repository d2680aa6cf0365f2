//! Digest functions, digests, Merkle directory trees and the stat cache.
//!
//! A [`Digest`] names a blob by digest function, hash and size, as in the Remote Execution API (`remote_execution.proto`,
//! message `Digest`). Everything that BuildNet stores, compares or sends is named by one.

pub mod category;
pub mod digest;
pub mod function;
mod sha256tree;
pub mod stat;
pub mod tree;

pub use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
pub use bazel_remote_apis::google::protobuf;

pub use crate::category::{Diagnostic, ErrorCategory};
pub use crate::digest::{Digest, ParseDigestError};
pub use crate::function::{DigestFunction, Hasher};
