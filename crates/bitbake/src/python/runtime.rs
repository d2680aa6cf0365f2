//! Our own Python runtime, written out where a worker can import it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../python/", $path)))),*]
    };
}

/// The runtime's files: path, text.
const FILES: &[(&str, &str)] = embedded![
    "bb/__init__.py",
    "bb/_depends.py",
    "bb/_digests.py",
    "bb/_edit.py",
    "bb/_files.py",
    "bb/_host.py",
    "bb/_versions.py",
    "bb/_words.py",
    "bb/build.py",
    "bb/codeparser.py",
    "bb/compress/__init__.py",
    "bb/compress/_programs.py",
    "bb/compress/lz4.py",
    "bb/compress/zstd.py",
    "bb/cookerdata.py",
    "bb/data.py",
    "bb/data_smart.py",
    "bb/event.py",
    "bb/fetch2/__init__.py",
    "bb/fetch2/errors.py",
    "bb/fetch2/methods.py",
    "bb/fetch2/uri.py",
    "bb/filter.py",
    "bb/msg.py",
    "bb/parse/__init__.py",
    "bb/parse/parse_py/BBHandler.py",
    "bb/parse/parse_py/ConfHandler.py",
    "bb/parse/parse_py/__init__.py",
    "bb/process.py",
    "bb/progress.py",
    "bb/runqueue.py",
    "bb/siggen.py",
    "bb/tinfoil.py",
    "bb/utils.py",
    "buildnet_bridge.py",
    "buildnet_seen.py",
    "buildnet_worker.py",
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
        let io =
            |error: std::io::Error| Error::Io { path: temporary.display().to_string(), message: error.to_string() };
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::FILES;

    #[test]
    fn every_file_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(&directory).expect("the source tree is there") {
                let path = entry.expect("the source tree is there").path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|extension| extension == "py") {
                    let name = path.strip_prefix(&root).expect("below the root").display().to_string();
                    assert!(FILES.iter().any(|(file, _)| *file == name), "{name} is not in FILES");
                }
            }
        }
    }
}
