//! What changed since the last look.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// How many changed paths are held; past that everything counts as changed.
const MAX_PATHS: usize = 100_000;

/// Paths that may differ from what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files and directories of which something changed: content, attributes, name, or existence.
    pub paths: BTreeSet<PathBuf>,
    /// Anything may have changed: the kernel's queue ran over, or a watched directory moved.
    pub everything: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everything
    }

    /// Adds a path, or gives up on single paths when there are too many.
    pub fn add(&mut self, path: PathBuf) {
        if !self.everything {
            self.paths.insert(path);
            if self.paths.len() > MAX_PATHS {
                self.set_everything();
            }
        }
    }

    /// Anything may have changed.
    pub fn set_everything(&mut self) {
        self.everything = true;
        self.paths.clear();
    }

    /// Adds what another look found.
    pub fn merge(&mut self, other: Self) {
        if other.everything {
            self.set_everything();
        }
        for path in other.paths {
            self.add(path);
        }
    }
}
