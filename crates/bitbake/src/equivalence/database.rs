//! The database of BitBake's own server, read while that does not run.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::signature::Equivalences;

/// A `hashserv.db`, opened for reading.
pub struct Database {
    connection: Connection,
    shown: String,
}

impl Database {
    /// Opens a database file.
    ///
    /// # Errors
    ///
    /// Where it is none, in words.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| format!("cannot read {shown}: {error}"))?;
        Ok(Self { connection, shown })
    }

    fn one(&self, method: &str, taskhash: &str) -> rusqlite::Result<Option<String>> {
        let mut statement =
            self.connection.prepare_cached("SELECT unihash FROM unihashes_v3 WHERE method = ?1 AND taskhash = ?2")?;
        statement.query_row([method, taskhash], |row| row.get(0)).optional()
    }
}

impl Equivalences for Database {
    fn unihashes(&mut self, queries: &[(&str, &str)]) -> Result<Vec<Option<String>>, String> {
        let answers: rusqlite::Result<Vec<Option<String>>> =
            queries.iter().map(|(method, taskhash)| self.one(method, taskhash)).collect();
        answers.map_err(|error| error.to_string())
    }

    fn address(&self) -> &str {
        &self.shown
    }
}
