//! Our own Python runtime, written out where a worker can import it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The runtime's files: path, text.
const FILES: &[(&str, &str)] = &[
    ("buildnet_worker.py", include_str!("../../python/buildnet_worker.py")),
    ("buildnet_bridge.py", include_str!("../../python/buildnet_bridge.py")),
];

/// A private directory that holds the runtime while workers use it.
#[derive(Debug)]
pub struct Runtime {
    directory: tempfile::TempDir,
    /// Directories that are searched before the runtime's own.
    before: Vec<PathBuf>,
}

impl Runtime {
    /// Writes the runtime below a directory for temporary files.
    pub fn write(temporary: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::Io { path: temporary.display().to_string(), message: error.to_string() };
        let directory = tempfile::Builder::new().prefix("buildnet-python-").tempdir_in(temporary).map_err(io)?;
        for (path, text) in FILES {
            let path = directory.path().join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io)?;
            }
            fs::write(&path, text).map_err(io)?;
        }
        Ok(Self { directory, before: Vec::new() })
    }

    /// Searches a directory before the runtime's own, for instance for another `bb` package.
    #[must_use]
    pub fn with_path(mut self, directory: PathBuf) -> Self {
        self.before.push(directory);
        self
    }

    pub(super) fn script(&self) -> PathBuf {
        self.directory.path().join("buildnet_worker.py")
    }

    pub(super) fn search_path(&self) -> impl Iterator<Item = &Path> {
        self.before.iter().map(PathBuf::as_path).chain(std::iter::once(self.directory.path()))
    }
}
