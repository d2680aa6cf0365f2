//! The daemon as a process: one per address, in the background if wanted.

pub mod build;
pub mod detach;
pub mod lock;

pub use build::program;
pub use detach::{DetachError, detach};
pub use lock::{Lock, LockError, Owner};
