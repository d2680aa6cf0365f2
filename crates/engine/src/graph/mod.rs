//! Incremental computation: keys, values, and what was computed from what.
//!
//! A [`Graph`] answers [`Key`]s and remembers for each answer what it was computed from. When a [leaf](Key::LEAF) is
//! invalidated, everything above it becomes suspect; asked again, a suspect key first has its recorded dependencies checked,
//! in the order in which they were requested, and is computed only if one of them has a different value than before. A key
//! that comes out the same as before stops the change there (early cutoff).
//!
//! `docs/design/engine.md` has the rules and their proof sketches.

mod codec;
mod compute;
mod context;
mod error;
mod flight;
mod handle;
mod inner;
mod key;
mod node;
mod persist;
mod retain;
mod services;
mod state;
mod statistics;
mod transaction;
mod waits;

pub use context::{Context, Reason};
pub use error::{ComputeError, Cycle, Failure};
pub use handle::{Evaluation, Graph, Request};
pub use key::Key;
pub use persist::{Discarded, Registry, SaveError};
pub use retain::Entry;
pub use services::Services;
pub use statistics::Statistics;
pub use transaction::{Commit, Leaf, Transaction};
