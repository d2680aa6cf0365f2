//! Following the file system, so that a warm daemon need not look at every file again.
//!
//! inotify tells of a change before the system call that made it returns (`inotify(7)`). So reading the queue until it is empty right
//! before a decision makes the decision right for every change that was finished before it; nothing is polled, nothing is guessed.

pub mod changes;
pub mod error;
pub mod watcher;

pub use changes::Changes;
pub use error::WatchError;
pub use watcher::{Coverage, Watcher};
