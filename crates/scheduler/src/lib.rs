//! Many tasks: which one next. Decisions only: no I/O, no clock, no randomness of its own.
//!
//! - [`ranks`] orders tasks by critical path from expected [`Durations`].
//! - [`Admission`] is the queue before the machine's cores and memory, for tasks that are found ready by somebody else.
//! - [`RetryPolicy`] says whether and when a failed task starts again.
//! - [`Scheduler`] joins the three for tasks whose dependencies are known.
//!
//! Times are durations since an origin that the caller chooses and keeps to.

pub mod admission;
pub mod rank;
pub mod resources;
pub mod retry;
pub mod scheduler;

pub use crate::admission::{Admission, Priority};
pub use crate::rank::{CycleError, Durations, ranks};
pub use crate::resources::{Capacity, Demand};
pub use crate::retry::{Outcome, RetryPolicy};
pub use crate::scheduler::{Aftermath, FailurePolicy, Scheduler, Status, Task, TaskError};
