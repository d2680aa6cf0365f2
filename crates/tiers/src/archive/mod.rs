//! A cache in files: to carry it elsewhere, and to take over others.
//!
//! An archive, as a directory or a tar file, has `blobs/FUNCTION/hh/HASH-SIZE` with the contents as they are, and
//! `results/FUNCTION/hh/HASH-SIZE` with `ActionResult` messages under the store's own keys, after the blobs. `hh` are the first two
//! digits of the hash. What is read is never written to a path that an archive names: names are parsed, and everything else is told.

mod bazel_remote;
mod export;
mod import;
mod name;

use std::io;
use std::path::{Path, PathBuf};

use buildnet_cas::CasError;
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_reapi::CacheError;
use serde::{Deserialize, Serialize};

pub use self::export::export;
pub use self::import::{Importing, import};

/// Most problems that are told one by one.
const MAX_PROBLEMS: usize = 100;

/// What an export or an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// Blobs copied.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Results copied.
    pub results: u64,
    /// Blobs and results that were there already.
    pub present: u64,
    /// Results left out, since a blob that they name is not there.
    pub incomplete: u64,
    /// What is not understood or not right, and was left out; at most 100.
    pub problems: Vec<Problem>,
    /// How many there were.
    pub problem_count: u64,
}

/// Something in an archive that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it is.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ArchiveReport {
    fn problem(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { name: name.into(), reason: reason.into() });
        }
    }
}

/// Called now and then with what was done so far.
pub type Progress<'p> = &'p mut dyn FnMut(&ArchiveReport);

/// Why an export or an import broke off.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file of the archive cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// This is neither an archive nor a cache that is known.
    #[error("{} is no cache that can be imported", path.display())]
    Unknown {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is something already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

impl ArchiveError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<CasError> for ArchiveError {
    fn from(error: CasError) -> Self {
        Self::Cache(error.into())
    }
}

impl Diagnostic for ArchiveError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Cache(error) => error.category(),
            Self::Io { .. } => ErrorCategory::Environment,
            Self::Unknown { .. } | Self::Exists { .. } => ErrorCategory::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Cache(error) => return error.hint(),
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::StorageFull => {
                format!("free some space on the disk that holds {}", path.display())
            }
            Self::Io { .. } => return None,
            Self::Unknown { .. } => {
                "name what `buildnet cache export` wrote (a directory, `.tar` or `.tar.zst`), or the directory of \
                 a bazel-remote cache, with `cas.v2` in it"
                    .into()
            }
            Self::Exists { .. } => "choose another name, or remove it; a directory can be continued".into(),
        })
    }
}
