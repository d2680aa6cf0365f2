//! The database file: opening, locking, and replacing a corrupted one.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::schema;
use crate::error::HistoryError;

/// How long a process waits for another one's write. Writes take milliseconds; a stuck process must not hold up a build.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pages in the write-ahead log before they move into the database (1 MiB): a new process reads the whole log when it opens.
const CHECKPOINT_PAGES: u32 = 256;

/// A corrupted database was moved aside, and an empty one took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The database file.
    pub path: PathBuf,
    /// Where the corrupted one is now; replaces one from before.
    pub moved_to: PathBuf,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, moved_to } = self;
        write!(
            f,
            "history database {} was corrupted; it is now {}, and a new one began",
            path.display(),
            moved_to.display()
        )
    }
}

/// Opens the database, creating or upgrading it where needed.
pub(super) fn open(path: &Path) -> Result<Connection, HistoryError> {
    let sqlite = |source| classify(path, source);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| classify_io(path, source))?;
    }
    let mut connection = connect(path)?;
    let known = schema::newest();
    let mut found = schema::version(&connection).map_err(sqlite)?;
    if found < known {
        // The change of the journal mode does not wait for other processes by itself, hence the lock.
        let _lock = lock(path)?;
        connection.pragma_update(None, "auto_vacuum", "incremental").map_err(sqlite)?;
        connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
            .map_err(sqlite)?;
        schema::migrate(&mut connection).map_err(sqlite)?;
        found = schema::version(&connection).map_err(sqlite)?;
    }
    if found > known {
        return Err(HistoryError::NewerVersion { path: path.to_owned(), found, known });
    }
    // Makes SQLite read the schema, so that damage there shows now.
    connection.prepare("SELECT 1 FROM builds, tasks, notices, latest, name_sets").map_err(sqlite)?;
    Ok(connection)
}

/// Opens a database that cannot be written. Its write-ahead log is read with it where SQLite finds that log's index or can make one
/// (<https://www.sqlite.org/wal.html>, "Read-Only Databases"); else what is in the log alone, the last builds at most, is not seen.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, HistoryError> {
    let known = schema::newest();
    let look = |immutable: bool| {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if immutable {
            let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(path, flags)
        };
        let connection = connection.map_err(|source| classify(path, source))?;
        connection.busy_timeout(PATIENCE).map_err(|source| classify(path, source))?;
        let found = schema::version(&connection).map_err(|source| classify(path, source))?;
        match found.cmp(&known) {
            // An older one would have to be brought to today's form first.
            Ordering::Less => Err(HistoryError::ReadOnly { path: path.to_owned() }),
            Ordering::Equal => Ok(connection),
            Ordering::Greater => Err(HistoryError::NewerVersion { path: path.to_owned(), found, known }),
        }
    };
    look(false).or_else(|_| look(true))
}

fn connect(path: &Path) -> Result<Connection, HistoryError> {
    let sqlite = |source| classify(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    if connection.is_readonly(MAIN_DB).map_err(sqlite)? {
        return Err(HistoryError::ReadOnly { path: path.to_owned() });
    }
    connection.busy_timeout(PATIENCE).map_err(sqlite)?;
    // Else the last process that closes the database moves and syncs the log: milliseconds at the end of each build.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sqlite)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "normal").map_err(sqlite)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(())).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Moves a corrupted database aside; none if it is not corrupted (another process replaced it already).
pub(super) fn recover(path: &Path) -> Result<Option<Recovery>, HistoryError> {
    let _lock = lock(path)?;
    // No file: another process moved it aside and is about to create the new one.
    if !path.exists() || is_whole(path) {
        return Ok(None);
    }
    let moved_to = with_suffix(path, ".corrupted");
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(with_suffix(path, suffix), with_suffix(&moved_to, suffix)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(HistoryError::Corrupted { path: path.to_owned() });
            }
            _ => {}
        }
    }
    Ok(Some(Recovery { path: path.to_owned(), moved_to }))
}

fn is_whole(path: &Path) -> bool {
    let check = || -> rusqlite::Result<bool> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(PATIENCE)?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| Ok(row.get::<_, String>(0)? == "ok"))
    };
    check().unwrap_or(false)
}

/// Serialises creation and replacement of the database between processes. Freed when dropped.
fn lock(path: &Path) -> Result<File, HistoryError> {
    let lock_path = with_suffix(path, ".lock");
    let locked = File::create(&lock_path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| classify_io(path, source))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn classify_io(path: &Path, source: io::Error) -> HistoryError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => HistoryError::ReadOnly { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => HistoryError::Full { path },
        _ => HistoryError::Io { path, source },
    }
}

/// What an error of SQLite means for users.
pub(super) fn classify(path: &Path, source: rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            HistoryError::ReadOnly { path }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => HistoryError::Busy { path },
        Some(ErrorCode::DiskFull) => HistoryError::Full { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => HistoryError::Corrupted { path },
        _ => HistoryError::Sqlite { path, source },
    }
}
