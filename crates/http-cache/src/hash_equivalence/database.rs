//! The tables: the unified hash of each task hash, and the outputs that were reported.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use buildnet_reapi::CacheError;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

/// Columns of an output that clients may report beside its key.
const DETAILS: [&str; 6] = ["owner", "PN", "PV", "PR", "task", "outhash_siginfo"];

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS unihashes (
        method TEXT NOT NULL, taskhash TEXT NOT NULL, unihash TEXT NOT NULL, mark TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (method, taskhash)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS unihashes_by_unihash ON unihashes (unihash);
    CREATE TABLE IF NOT EXISTS outhashes (
        id INTEGER PRIMARY KEY, method TEXT NOT NULL, taskhash TEXT NOT NULL, outhash TEXT NOT NULL,
        created INTEGER NOT NULL, owner TEXT, PN TEXT, PV TEXT, PR TEXT, task TEXT, outhash_siginfo TEXT,
        UNIQUE (method, taskhash, outhash));
    CREATE INDEX IF NOT EXISTS outhashes_by_outhash ON outhashes (method, outhash, created);
    CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Equivalences {
    connection: Arc<Mutex<Connection>>,
}

/// One reported output.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) method: String,
    pub(super) taskhash: String,
    pub(super) outhash: String,
    pub(super) unihash: String,
    /// In the order of `DETAILS`.
    pub(super) details: [Option<String>; 6],
}

impl Report {
    /// From a message's fields.
    pub(super) fn of(message: &Value) -> Option<Self> {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            method: text("method")?,
            taskhash: text("taskhash")?,
            outhash: text("outhash")?,
            unihash: text("unihash")?,
            details: DETAILS.map(text),
        })
    }
}

/// A failure of the database.
fn failed(source: rusqlite::Error) -> CacheError {
    CacheError::Io { action: "use", path: "hash-equivalence.sqlite".into(), source: std::io::Error::other(source) }
}

impl Equivalences {
    /// Opens or creates the database.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// The unified hash of a task hash.
    pub(super) fn unihash(&self, method: &str, taskhash: &str) -> Result<Option<String>, CacheError> {
        let connection = self.connection.lock();
        let sql = "SELECT unihash FROM unihashes WHERE method = ?1 AND taskhash = ?2";
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        statement.query_row([method, taskhash], |row| row.get(0)).optional().map_err(failed)
    }

    /// Whether any task has this unified hash.
    pub(super) fn unihash_exists(&self, unihash: &str) -> Result<bool, CacheError> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM unihashes WHERE unihash = ?1 LIMIT 1").map_err(failed)?;
        statement.exists([unihash]).map_err(failed)
    }

    /// The oldest output of a task hash, with its unified hash.
    pub(super) fn task(&self, method: &str, taskhash: &str) -> Result<Option<Value>, CacheError> {
        self.output("outhashes.method = ?1 AND outhashes.taskhash = ?2", [method, taskhash], true)
    }

    /// The oldest report of an output, with its unified hash when that is asked for.
    pub(super) fn outhash(&self, method: &str, outhash: &str, with_unihash: bool) -> Result<Option<Value>, CacheError> {
        self.output("outhashes.method = ?1 AND outhashes.outhash = ?2", [method, outhash], with_unihash)
    }

    fn output(&self, condition: &str, values: [&str; 2], with_unihash: bool) -> Result<Option<Value>, CacheError> {
        let join = if with_unihash { "INNER JOIN unihashes USING (method, taskhash)" } else { "" };
        let unihash = if with_unihash { "unihashes.unihash" } else { "NULL" };
        let sql = format!(
            "SELECT outhashes.method, outhashes.taskhash, outhash, created, owner, PN, PV, PR, task, outhash_siginfo, \
             {unihash} FROM outhashes {join} WHERE {condition} ORDER BY created, id LIMIT 1"
        );
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
        let row = statement.query_row(values, |row| {
            let text = |index: usize| row.get::<_, Option<String>>(index);
            let mut found = json!({ "method": text(0)?, "taskhash": text(1)?, "outhash": text(2)?, "created": row.get::<_, i64>(3)? });
            for (index, name) in DETAILS.iter().enumerate() {
                found[*name] = json!(text(4 + index)?);
            }
            if with_unihash {
                found["unihash"] = json!(text(10)?);
            }
            Ok(found)
        });
        row.optional().map_err(failed)
    }

    /// Records an output, and returns the unified hash of its task: that of the oldest task with the same output, else
    /// the reported one. A task hash keeps the unified hash that it got first.
    pub(super) fn report(&self, report: &Report) -> Result<String, CacheError> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction().map_err(failed)?;
        let [owner, pn, pv, pr, task, siginfo] = &report.details;
        let values = params![report.method, report.taskhash, report.outhash, now(), owner, pn, pv, pr, task, siginfo];
        let inserted = transaction
            .execute(
                "INSERT OR IGNORE INTO outhashes (method, taskhash, outhash, created, owner, PN, PV, PR, task, \
                 outhash_siginfo) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                values,
            )
            .map_err(failed)?;
        if inserted > 0 {
            let equivalent: Option<String> = transaction
                .query_row(
                    "SELECT unihashes.unihash FROM outhashes INNER JOIN unihashes USING (method, taskhash) \
                     WHERE outhashes.method = ?1 AND outhashes.outhash = ?2 AND outhashes.taskhash != ?3 \
                     ORDER BY created, id LIMIT 1",
                    [&report.method, &report.outhash, &report.taskhash],
                    |row| row.get(0),
                )
                .optional()
                .map_err(failed)?;
            let unihash = equivalent.as_ref().unwrap_or(&report.unihash);
            insert(&transaction, &report.method, &report.taskhash, unihash)?;
        }
        let unihash = kept(&transaction, &report.method, &report.taskhash)?;
        transaction.commit().map_err(failed)?;
        Ok(unihash.unwrap_or_else(|| report.unihash.clone()))
    }

    /// Gives a task hash a unified hash, unless it has one; returns the one it has.
    pub(super) fn report_equivalent(&self, method: &str, taskhash: &str, unihash: &str) -> Result<String, CacheError> {
        let connection = self.connection.lock();
        insert(&connection, method, taskhash, unihash)?;
        Ok(kept(&connection, method, taskhash)?.unwrap_or_else(|| unihash.to_owned()))
    }

    /// Forgets what has these values. Returns how many rows there were.
    pub(super) fn remove(&self, conditions: &[(String, String)]) -> Result<usize, CacheError> {
        let connection = self.connection.lock();
        let mut removed = 0;
        for (table, columns) in [
            ("unihashes", &["method", "taskhash", "unihash"][..]),
            ("outhashes", &["method", "taskhash", "outhash"][..]),
        ] {
            let mut sql = Vec::new();
            let mut values = Vec::new();
            for (column, value) in conditions {
                // Only names of this list enter the statement.
                if let Some(column) = columns.iter().find(|known| *known == column) {
                    values.push(value);
                    sql.push(format!("{column} = ?{}", values.len()));
                }
            }
            if sql.len() == conditions.len() && !sql.is_empty() {
                let sql = format!("DELETE FROM {table} WHERE {}", sql.join(" AND "));
                removed += connection.execute(&sql, rusqlite::params_from_iter(values)).map_err(failed)?;
            }
        }
        Ok(removed)
    }

    /// Forgets outputs older than so many seconds whose tasks have no unified hash.
    pub(super) fn clean_unused(&self, max_age: i64) -> Result<usize, CacheError> {
        let sql = "DELETE FROM outhashes WHERE created < ?1 AND NOT EXISTS (SELECT 1 FROM unihashes WHERE \
                   unihashes.method = outhashes.method AND unihashes.taskhash = outhashes.taskhash)";
        self.connection.lock().execute(sql, [now().saturating_sub(max_age.saturating_mul(1000))]).map_err(failed)
    }

    /// Marks unified hashes to be kept by the next [`sweep`](Self::sweep) with the same mark.
    pub(super) fn mark(&self, mark: &str, conditions: &[(String, String)]) -> Result<usize, CacheError> {
        let connection = self.connection.lock();
        let save = "INSERT INTO settings VALUES ('mark', ?1) ON CONFLICT DO UPDATE SET value = ?1";
        connection.execute(save, [mark]).map_err(failed)?;
        let mut sql = Vec::new();
        let mut values = vec![mark];
        for (column, value) in conditions {
            let Some(column) = ["method", "taskhash", "unihash"].into_iter().find(|known| known == column) else {
                return Ok(0);
            };
            values.push(value);
            sql.push(format!("{column} = ?{}", values.len()));
        }
        if sql.is_empty() {
            return Ok(0);
        }
        let sql = format!("UPDATE unihashes SET mark = ?1 WHERE {}", sql.join(" AND "));
        connection.execute(&sql, rusqlite::params_from_iter(values)).map_err(failed)
    }

    /// Forgets all unified hashes without this mark; `None` when it is not the mark in use.
    pub(super) fn sweep(&self, mark: &str) -> Result<Option<usize>, CacheError> {
        let connection = self.connection.lock();
        if current_mark(&connection)?.as_deref() != Some(mark) {
            return Ok(None);
        }
        let removed = connection.execute("DELETE FROM unihashes WHERE mark != ?1", [mark]).map_err(failed)?;
        connection.execute("DELETE FROM settings WHERE name = 'mark'", []).map_err(failed)?;
        Ok(Some(removed))
    }

    /// The mark in use, and how many rows have it and have not.
    pub(super) fn marked(&self) -> Result<(Option<String>, i64, i64), CacheError> {
        let connection = self.connection.lock();
        let mark = current_mark(&connection)?;
        let sql = "SELECT COALESCE(SUM(mark = ?1), 0), COALESCE(SUM(mark != ?1), 0) FROM unihashes";
        let counts =
            connection.query_row(sql, [mark.clone().unwrap_or_default()], |row| Ok((row.get(0)?, row.get(1)?)));
        let (keep, remove) = counts.map_err(failed)?;
        Ok((mark, keep, remove))
    }

    /// Rows of each table.
    pub(super) fn usage(&self) -> Result<Value, CacheError> {
        let connection = self.connection.lock();
        let count = |table: &str| {
            connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        };
        Ok(json!({
            "unihashes_v3": { "rows": count("unihashes").map_err(failed)? },
            "outhashes_v2": { "rows": count("outhashes").map_err(failed)? },
        }))
    }
}

/// Names that conditions of `remove` and of marking may have.
pub(super) const COLUMNS: [&str; 4] = ["method", "taskhash", "unihash", "outhash"];

fn current_mark(connection: &Connection) -> Result<Option<String>, CacheError> {
    let sql = "SELECT value FROM settings WHERE name = 'mark'";
    connection.query_row(sql, [], |row| row.get(0)).optional().map_err(failed)
}

/// A new unified hash gets the mark in use, so that a sweep does not take what is being built.
fn insert(connection: &Connection, method: &str, taskhash: &str, unihash: &str) -> Result<(), CacheError> {
    let mark = current_mark(connection)?.unwrap_or_default();
    let sql = "INSERT OR IGNORE INTO unihashes (method, taskhash, unihash, mark) VALUES (?1, ?2, ?3, ?4)";
    connection.execute(sql, [method, taskhash, unihash, &mark]).map(drop).map_err(failed)
}

fn kept(connection: &Connection, method: &str, taskhash: &str) -> Result<Option<String>, CacheError> {
    let sql = "SELECT unihash FROM unihashes WHERE method = ?1 AND taskhash = ?2";
    connection.query_row(sql, [method, taskhash], |row| row.get(0)).optional().map_err(failed)
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(taskhash: &str, outhash: &str, unihash: &str) -> Report {
        Report {
            method: "m".into(),
            taskhash: taskhash.into(),
            outhash: outhash.into(),
            unihash: unihash.into(),
            ..Report::default()
        }
    }

    #[test]
    fn tasks_with_equal_outputs_share_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Equivalences::open(&path).unwrap();
        assert_eq!(database.report(&report("t1", "o", "u1")).unwrap(), "u1");
        assert_eq!(database.report(&report("t2", "o", "u2")).unwrap(), "u1");
        assert_eq!(database.report(&report("t2", "other", "u3")).unwrap(), "u1", "the first one stays");
        assert_eq!(database.report(&report("t3", "third", "u3")).unwrap(), "u3");
        assert_eq!(database.report_equivalent("m", "t3", "u9").unwrap(), "u3");
        assert_eq!(database.report_equivalent("m", "t4", "u4").unwrap(), "u4");
        drop(database);
        let database = Equivalences::open(&path).unwrap();
        assert_eq!(database.unihash("m", "t2").unwrap().as_deref(), Some("u1"));
        assert_eq!(database.unihash("n", "t2").unwrap(), None);
        assert!(database.unihash_exists("u4").unwrap() && !database.unihash_exists("u2").unwrap());
        let found = database.outhash("m", "o", true).unwrap().unwrap();
        assert_eq!((&found["taskhash"], &found["unihash"]), (&json!("t1"), &json!("u1")));

        let condition = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(database.mark("k", &condition("unihash", "u1")).unwrap(), 2);
        assert_eq!(database.marked().unwrap(), (Some("k".into()), 2, 2));
        assert_eq!(database.sweep("wrong").unwrap(), None);
        assert_eq!(database.sweep("k").unwrap(), Some(2));
        assert_eq!(database.clean_unused(-10).unwrap(), 1);
        assert_eq!(database.remove(&condition("taskhash", "t1")).unwrap(), 2);
        assert_eq!(database.remove(&condition("1=1; --", "x")).unwrap(), 0);
    }
}
