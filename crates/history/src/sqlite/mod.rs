//! The history on SQLite: one database file, write-ahead log, any number of processes.
//!
//! Invariants: a build's rows are written in one transaction; a database that this program cannot read is never changed, only
//! moved aside; nothing is removed but by pruning. A crash of the machine may lose the last builds (the log is synced at
//! checkpoints only, since a history is no record of state), and never leaves half of one.

mod encoding;
mod file;
mod read;
mod schema;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use buildnet_event::{BuildId, TaskName};
use parking_lot::Mutex;
use rusqlite::Connection;

pub use self::file::Recovery;
use crate::error::HistoryError;
use crate::estimate::Expectation;
use crate::record::{BuildHead, BuildRecord};
use crate::store::{
    BuildSelector, BuildStart, HistoryStore, LastRun, Page, Pruned, Retention, Statistics, TaskFigures, TaskRun,
};

/// A history in one SQLite database file.
#[derive(Debug)]
pub struct SqliteHistory {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    recoveries: Vec<Recovery>,
}

/// Why an operation on an open database failed.
#[derive(Debug)]
enum Failure {
    Sqlite(rusqlite::Error),
    History(HistoryError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}

impl SqliteHistory {
    /// Opens the database at `path`; creates it, its directory and its tables where they are missing.
    ///
    /// A corrupted database is moved aside and replaced by an empty one: see [`SqliteHistory::take_recoveries`].
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let mut recoveries = Vec::new();
        let connection = match file::open(path) {
            Err(HistoryError::Corrupted { .. }) => {
                recoveries.extend(file::recover(path)?);
                file::open(path)?
            }
            other => other?,
        };
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { connection, recoveries }) })
    }

    /// Opens the database at `path` for those who only read it: where it cannot be written, as it is. Operations that write fail then.
    pub fn open_to_read(path: &Path) -> Result<Self, HistoryError> {
        match Self::open(path) {
            Err(HistoryError::ReadOnly { .. }) if path.exists() => {
                let connection = file::open_to_read(path)?;
                Ok(Self { path: path.to_owned(), state: Mutex::new(State { connection, recoveries: Vec::new() }) })
            }
            other => other,
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Corrupted databases that were moved aside since the last call; callers show each as a notice.
    pub fn take_recoveries(&self) -> Vec<Recovery> {
        std::mem::take(&mut self.state.lock().recoveries)
    }

    /// Runs an operation. When the database turns out to be corrupted it is replaced, and the operation runs once more.
    fn with<T>(&self, operation: impl Fn(&mut Connection) -> Result<T, Failure>) -> Result<T, HistoryError> {
        let mut state = self.state.lock();
        match self.named(operation(&mut state.connection)) {
            Err(HistoryError::Corrupted { .. }) => {
                state.recoveries.extend(file::recover(&self.path)?);
                state.connection = file::open(&self.path)?;
                self.named(operation(&mut state.connection))
            }
            other => other,
        }
    }

    fn named<T>(&self, result: Result<T, Failure>) -> Result<T, HistoryError> {
        result.map_err(|failure| match failure {
            Failure::Sqlite(source) => file::classify(&self.path, source),
            Failure::History(error) => error,
        })
    }

    /// Opens the database anew when its file was removed under a long-running process.
    fn reopen_if_gone(&self) -> Result<(), HistoryError> {
        if !self.path.exists() {
            self.state.lock().connection = file::open(&self.path)?;
        }
        Ok(())
    }
}

impl HistoryStore for SqliteHistory {
    fn begin(&self, start: &BuildStart) -> Result<(), HistoryError> {
        self.reopen_if_gone()?;
        self.with(|connection| write::begin(connection, start))
    }

    fn finish(&self, build: &BuildRecord) -> Result<(), HistoryError> {
        self.reopen_if_gone()?;
        self.with(|connection| write::finish(connection, build))
    }

    fn builds(&self, page: Page) -> Result<Vec<BuildHead>, HistoryError> {
        self.with(|connection| read::builds(connection, page))
    }

    fn resolve(&self, selector: &BuildSelector) -> Result<BuildId, HistoryError> {
        self.with(|connection| read::resolve(connection, selector))
    }

    fn build(&self, id: BuildId) -> Result<BuildRecord, HistoryError> {
        self.with(|connection| read::build(connection, id))
    }

    fn expectations(&self) -> Result<HashMap<TaskName, Expectation>, HistoryError> {
        self.with(|connection| read::expectations(connection))
    }

    fn last_run(&self, task: &TaskName) -> Result<Option<LastRun>, HistoryError> {
        self.with(|connection| read::last_run(connection, task))
    }

    fn runs(&self, task: &TaskName, limit: u32) -> Result<Vec<TaskRun>, HistoryError> {
        self.with(|connection| read::runs(connection, task, limit))
    }

    fn slowest(&self, limit: u32) -> Result<Vec<TaskFigures>, HistoryError> {
        self.with(|connection| read::slowest(connection, limit))
    }

    fn statistics(&self, since_ms: u64) -> Result<Statistics, HistoryError> {
        self.with(|connection| read::statistics(connection, since_ms))
    }

    fn prune(&self, retention: &Retention, now_ms: u64) -> Result<Pruned, HistoryError> {
        self.with(|connection| write::prune(connection, retention, now_ms))
    }
}
