//! A set of input files with what is needed to see that none changed.

use buildnet_digest::stat::{Root, Stamp};
use buildnet_digest::tree::Node;
use serde::{Deserialize, Serialize};

/// One input file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path relative to the workspace root.
    pub path: String,
    /// A file with its digest, or a symlink with its target.
    pub node: Node,
    /// Its stat data when it was read.
    pub stamp: Stamp,
    /// Whether a later change is certain to show in the stat data.
    pub settled: bool,
}

/// Equal if nothing is stat-different; whether that is certain does not matter.
impl PartialEq for FileEntry {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.node == other.node && self.stamp == other.stamp
    }
}

impl Eq for FileEntry {}

/// A path whose stat data tells whether the set may have changed, beside the files themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Path relative to the workspace root; empty for the root.
    pub path: String,
    /// Its stat data; none if nothing was there.
    pub stamp: Option<Stamp>,
    /// Whether a later change is certain to show in the stat data.
    pub settled: bool,
}

/// The input files of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSet {
    /// The files, sorted by path.
    pub files: Vec<FileEntry>,
    /// Directories whose listing was read, `.gitignore` files that were looked for, and named files that are missing.
    pub watched: Vec<Watched>,
}

impl FileSet {
    /// Whether nothing is stat-different since the set was made: then it is what a new scan would give.
    pub fn is_fresh(&self, root: &Root) -> bool {
        self.files.iter().all(|file| file.settled && root.stamp(&file.path) == Ok(file.stamp))
            && self.watched.iter().all(|watched| {
                watched.settled
                    && match (&watched.stamp, root.stamp(&watched.path)) {
                        // A directory's size and link count may change with its contents only; its times tell the same.
                        (Some(before), Ok(now)) => *before == now,
                        (None, Err(_)) => true,
                        _ => false,
                    }
            })
    }

    /// Whether both hold the same files with the same contents, whatever their stat data.
    pub fn same_contents(&self, other: &Self) -> bool {
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|(one, other)| one.path == other.path && one.node == other.node)
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|index| &self.files[index])
    }
}
