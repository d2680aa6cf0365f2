//! What the machine has and what a task takes of it.

use serde::{Deserialize, Serialize};

/// What there is to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Cores; taken as 1 if 0.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// What a task takes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Cores kept busy; taken as 1 if 0.
    pub cpus: u32,
    /// Memory in bytes; 0 if it is not known.
    pub memory: u64,
}

impl Default for Demand {
    /// One core, memory unknown.
    fn default() -> Self {
        Self { cpus: 1, memory: 0 }
    }
}

impl Demand {
    /// What is set aside for the demand: what it says, or everything if that is more than there is, so that it runs alone.
    #[must_use]
    pub fn within(self, capacity: Capacity) -> Self {
        let all = Self { cpus: capacity.cpus.max(1), memory: capacity.memory };
        if self.cpus > all.cpus || self.memory > all.memory { all } else { Self { cpus: self.cpus.max(1), ..self } }
    }

    /// Whether it fits into what is free.
    pub const fn fits(self, free: Capacity) -> bool {
        self.cpus <= free.cpus && self.memory <= free.memory
    }
}
