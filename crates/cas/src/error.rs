//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use buildnet_digest::{Diagnostic, Digest, ErrorCategory};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
    /// The bytes are not those that the digest names.
    #[error("the content is {actual}, but {expected} was promised")]
    Mismatch {
        /// The digest that was promised.
        expected: Box<Digest>,
        /// The digest of the bytes that came.
        actual: Box<Digest>,
    },
    /// The disk or the quota is full; nothing of the entry was kept.
    #[error("no space left for the cache in {}", path.display())]
    DiskFull {
        /// The file or directory that could not grow.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The store was opened for reading, or the directory allows nothing else.
    #[error("the cache in {} is read-only", dir.display())]
    ReadOnly {
        /// The store's directory.
        dir: PathBuf,
    },
    /// A write could not be made durable earlier, so the store accepts no more writes until it is opened anew.
    #[error("the cache in {} stopped accepting writes: {reason}", dir.display())]
    Latched {
        /// The store's directory.
        dir: PathBuf,
        /// The failure that closed the store for writing.
        reason: String,
    },
    /// The file changed while it was being stored.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The directory was written by an incompatible version.
    #[error("{} has cache format `{found}`, but this version reads `{expected}`", dir.display())]
    Format {
        /// The store's directory.
        dir: PathBuf,
        /// The format found.
        found: String,
        /// The format that this version reads and writes.
        expected: &'static str,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl CasError {
    /// Wraps a failure of the file system, telling a full disk and a read-only place apart from the rest.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { dir: path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Wraps a failure at a path that is not the store's own: the cache is then neither full nor read-only.
    pub(crate) fn outside(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Other content than promised.
    pub(crate) fn mismatch(expected: Digest, actual: Digest) -> Self {
        Self::Mismatch { expected: Box::new(expected), actual: Box::new(actual) }
    }

    /// A copy for another caller who waited for the same operation.
    pub(crate) fn duplicate(&self) -> Self {
        let again = |source: &io::Error| match source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(source.kind(), source.to_string()),
        };
        match self {
            Self::Mismatch { expected, actual } => {
                Self::Mismatch { expected: expected.clone(), actual: actual.clone() }
            }
            Self::DiskFull { path, source } => Self::DiskFull { path: path.clone(), source: again(source) },
            Self::ReadOnly { dir } => Self::ReadOnly { dir: dir.clone() },
            Self::Latched { dir, reason } => Self::Latched { dir: dir.clone(), reason: reason.clone() },
            Self::Changed { path } => Self::Changed { path: path.clone() },
            Self::Format { dir, found, expected } => Self::Format { dir: dir.clone(), found: found.clone(), expected },
            Self::Io { action, path, source } => Self::Io { action, path: path.clone(), source: again(source) },
        }
    }
}

impl Diagnostic for CasError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Mismatch { .. } | Self::Changed { .. } | Self::Format { .. } => ErrorCategory::User,
            Self::DiskFull { .. } | Self::ReadOnly { .. } | Self::Latched { .. } | Self::Io { .. } => {
                ErrorCategory::Environment
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Mismatch { .. } => {
                "the sender damaged the content or computed the digest of something else; send it again".into()
            }
            Self::DiskFull { .. } => {
                "free some space, or lower the cache's size limit and run `buildnet cache gc`".into()
            }
            Self::ReadOnly { dir } => {
                format!("make {} writable for this user, or choose another place with `--cache-dir`", dir.display())
            }
            Self::Latched { .. } => {
                "check the disk (kernel log, SMART), then start again; what was acknowledged before is kept".into()
            }
            Self::Changed { path } => {
                format!("let nothing write {} during the build, or exclude it from the inputs", path.display())
            }
            Self::Format { dir, .. } => {
                format!("choose another place with `--cache-dir`, or remove {}", dir.display())
            }
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("check owner and permissions of {}", path.display())
            }
            Self::Io { source, path, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                format!("free some space on the disk that holds {}", path.display())
            }
            Self::Io { .. } => return None,
        })
    }
}
