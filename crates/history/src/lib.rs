//! Builds, tasks and their figures over time.
//!
//! A [`Recorder`] reads the event stream of builds and keeps what is worth keeping in a [`HistoryStore`]; the store answers what
//! schedulers (expected durations), `why` (the last run of a task), lists and reports ask. [`SqliteHistory`] is the store on disk:
//! one database per workspace, shared by any number of processes.

mod error;
mod estimate;
mod process;
mod record;
mod recorder;
mod sqlite;
mod store;

pub use crate::error::HistoryError;
pub use crate::estimate::{Expectation, Sample};
pub use crate::process::ProcessMark;
pub use crate::record::{BuildHead, BuildRecord, BuildStatus, NoticeRecord, TaskRecord};
pub use crate::recorder::Recorder;
pub use crate::sqlite::{Recovery, SqliteHistory};
pub use crate::store::{
    BuildSelector, BuildStart, HistoryStore, LastRun, Page, Pruned, Retention, Statistics, TaskFigures, TaskRun,
};
