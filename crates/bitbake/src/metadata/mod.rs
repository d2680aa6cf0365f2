//! Evaluating files into a datastore.
//!
//! [`Reader`] carries out statements: it finds and includes files (`files`), sets variables and functions (`statements`), keeps the
//! task list (`tasks`), fires events at the metadata's handlers (`events`), and finalises recipes with their variants (`finalise`).

mod events;
mod files;
mod finalise;
mod fragments;
mod statements;
mod tasks;

pub use files::Reader;
pub(crate) use files::{is_kind, join, normal};
pub use finalise::Finalised;
pub use tasks::TaskTable;
