//! What can go wrong with a history.

use std::path::PathBuf;

use buildnet_digest::{Diagnostic, ErrorCategory};

/// A history cannot be opened, read or written. A build never depends on it: callers show the error and go on without history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The database, or the directory that should hold it, cannot be written.
    #[error("history is disabled: {} cannot be written", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },
    /// Another process holds the database longer than the store is willing to wait.
    #[error("history database {} is locked by another process", path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("history cannot be written to {}: the disk is full", path.display())]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer BuildNet.
    #[error("history database {} has version {found}, this BuildNet knows up to {known}", path.display())]
    NewerVersion {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest schema version that this program knows.
        known: u32,
    },
    /// The database is damaged, and could not be moved aside.
    #[error("history database {} is corrupted", path.display())]
    Corrupted {
        /// The database file.
        path: PathBuf,
    },
    /// No build has this identifier, or there is no build at all.
    #[error("no build `{selector}` in the history")]
    NotFound {
        /// What was asked for.
        selector: String,
    },
    /// A prefix fits several builds.
    #[error("`{prefix}` fits {} builds: {}", matches.len(), matches.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Identifiers that fit, at most ten.
        matches: Vec<String>,
    },
    /// A text that names no build.
    #[error("`{text}` names no build")]
    BadSelector {
        /// The text, cut to 80 characters.
        text: String,
    },
    /// A file operation around the database failed.
    #[error("history at {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// The database engine failed otherwise.
    #[error("history database {}: {source}", path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What failed.
        source: rusqlite::Error,
    },
}

impl Diagnostic for HistoryError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::NotFound { .. } | Self::Ambiguous { .. } | Self::BadSelector { .. } => ErrorCategory::User,
            Self::ReadOnly { .. }
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::NewerVersion { .. }
            | Self::Corrupted { .. }
            | Self::Io { .. } => ErrorCategory::Environment,
            Self::Sqlite { .. } => ErrorCategory::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ReadOnly { path } => {
                let directory = path.parent().unwrap_or(path);
                format!("Make {} writable to record builds; building works without.", directory.display())
            }
            Self::Busy { .. } => "Try again when the other BuildNet process is done.".to_owned(),
            Self::Full { .. } => "Free some space; building works without history.".to_owned(),
            Self::NewerVersion { path, .. } => {
                format!("Use the newer BuildNet, or move {} aside to start a new history.", path.display())
            }
            Self::Corrupted { path } => format!("Move {} aside to start a new history.", path.display()),
            Self::NotFound { .. } => "`buildnet history list` shows the builds that are kept.".to_owned(),
            Self::Ambiguous { .. } => "Give more characters of the identifier.".to_owned(),
            Self::BadSelector { .. } => {
                "Give an identifier, the beginning of one, `last`, or `last~1` for the one before.".to_owned()
            }
            Self::Io { .. } | Self::Sqlite { .. } => return None,
        })
    }
}
