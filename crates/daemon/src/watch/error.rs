//! What can go wrong with watches.

use std::io;
use std::path::PathBuf;

use buildnet_digest::{Diagnostic, ErrorCategory};

/// The kernel refused to watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No inotify instance is left for this user.
    #[error("cannot open inotify")]
    Open(#[source] io::Error),
    /// The user's watches are used up.
    #[error("no inotify watches are left: {watched} directories are watched, {wanted} are needed")]
    NoWatches {
        /// How many are watched.
        watched: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// A directory cannot be watched.
    #[error("cannot watch {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The queue cannot be read.
    #[error("cannot read from inotify")]
    Read(#[source] io::Error),
}

impl Diagnostic for WatchError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::Environment
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open(_) => {
                Some("Raise fs.inotify.max_user_instances; until then every file is looked at.".to_owned())
            }
            Self::NoWatches { wanted, .. } => Some(format!(
                "Raise the limit, for example `sysctl fs.inotify.max_user_watches={}`; until then every file is looked at.",
                (wanted * 2).next_power_of_two().max(65_536)
            )),
            Self::Directory { .. } | Self::Read(_) => Some("Until this is mended every file is looked at.".to_owned()),
        }
    }
}
