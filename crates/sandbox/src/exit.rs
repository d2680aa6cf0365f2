//! How a command ended.

use std::path::PathBuf;

/// The end of a command, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// What it used.
    pub usage: Usage,
    /// With a [`Trace`](crate::Trace): paths under it that were looked for and did not exist at that time, as the command sees
    /// them, sorted, without duplicates, at most [`MAX_TRACED`].
    pub sought: Vec<PathBuf>,
    /// With a [`Trace`](crate::Trace) in [`Mode::Warn`](crate::Mode::Warn): paths under it that were opened or executed; same
    /// form.
    pub opened: Vec<PathBuf>,
}

/// Most paths that [`Exit::sought`] and [`Exit::opened`] hold, each.
pub const MAX_TRACED: usize = 10_000;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It exited with this code (0 to 255).
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// It ran longer than [`Limits::wall`](crate::Limits::wall) and was killed with everything it started.
    TimedOut,
    /// It reached [`Limits::memory`](crate::Limits::memory) and was killed, or failed after one of its children was.
    OutOfMemory,
    /// The caller cancelled it; killed with everything it started.
    Cancelled,
}

impl Status {
    /// Whether the command exited with code 0.
    pub fn success(self) -> bool {
        self == Status::Exited(0)
    }
}

/// What a command and its children used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Wall time from start to end, in microseconds.
    pub wall_us: u64,
    /// User and system CPU time, in microseconds.
    pub cpu_us: u64,
    /// Peak memory in bytes: of all processes together where a memory cgroup was used, else of the largest single process.
    pub peak_memory: u64,
}
