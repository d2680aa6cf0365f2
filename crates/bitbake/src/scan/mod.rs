//! What Python and shell text refers to.
//!
//! A task's basehash covers the variables and functions its code mentions, so these scanners decide hashes: each finds exactly what
//! BitBake's code parser finds, including what it overlooks. Where that surprises, a comment says so; `tests/scan_*.rs` hold tables
//! of texts with what BitBake finds in them.

mod error;
pub mod python;
pub mod refs;
pub mod shell;

pub use error::ScanError;
pub use python::{CallVisitor, NoVisitors, Visited, python};
pub use shell::shell;
