//! Typed events of builds, actions and caches, and their bounded fan-out.
//!
//! Whatever happens is an [`Event`]: terminals, the daemon's streams, history and reports are all made from the same ones.

pub mod bus;
pub mod event;

pub use crate::bus::{Bus, Lagged, Subscription};
pub use crate::event::{
    BuildId, BuildOutcome, Event, EventKind, InputChange, InputPart, Level, Reason, TaskName, TaskOutcome, TaskSummary,
    TaskUsage, Tier, TierCounts,
};
