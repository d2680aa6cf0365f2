//! Tables of the history database, and how older ones become today's.

use rusqlite::{Connection, TransactionBehavior};

/// Each entry brings a database from the version that is its index to the next one. Entries are never changed, only added.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE builds (
        seq INTEGER PRIMARY KEY,          -- order of beginning
        id TEXT NOT NULL UNIQUE,          -- UUID in its hyphenated form, so that prefixes are ranges
        workspace TEXT NOT NULL,
        command TEXT NOT NULL,
        task_count INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        pid INTEGER NOT NULL,             -- the process that builds, and when it was born: tells a running build from a
        born TEXT NOT NULL,               --   killed one while there is no outcome
        outcome TEXT,                     -- NULL until an end was told
        duration_us INTEGER NOT NULL DEFAULT 0,
        instant INTEGER NOT NULL DEFAULT 0,
        cached INTEGER NOT NULL DEFAULT 0,
        incremental INTEGER NOT NULL DEFAULT 0,
        full INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        saved_us INTEGER NOT NULL DEFAULT 0,
        instant_set INTEGER REFERENCES name_sets (id)
    );
    CREATE INDEX builds_started ON builds (started_ms);
    CREATE INDEX builds_instant_set ON builds (instant_set);

    -- Instant tasks get no row: builds in a row mostly share one set of names, which is kept once.
    CREATE TABLE name_sets (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,      -- BLAKE3 of names
        names BLOB NOT NULL               -- package NUL task NUL, sorted
    );

    CREATE TABLE tasks (
        build INTEGER NOT NULL REFERENCES builds (seq) ON DELETE CASCADE,
        package TEXT NOT NULL,
        task TEXT NOT NULL,
        outcome TEXT NOT NULL,
        tier TEXT,
        start_us INTEGER NOT NULL,
        execute_us INTEGER,
        finish_us INTEGER NOT NULL,
        duration_us INTEGER NOT NULL,
        execution_us INTEGER NOT NULL,
        cpu_us INTEGER NOT NULL,
        peak_memory INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        key TEXT,
        exit_code INTEGER,
        error TEXT,
        hint TEXT,
        log_path TEXT,
        log_tail TEXT,
        reason TEXT,                      -- JSON
        dependencies BLOB NOT NULL        -- package NUL task NUL
    );
    CREATE INDEX tasks_build ON tasks (build);
    CREATE INDEX tasks_name ON tasks (package, task, build);

    CREATE TABLE notices (
        build INTEGER NOT NULL REFERENCES builds (seq) ON DELETE CASCADE,
        time_us INTEGER NOT NULL,
        level TEXT NOT NULL,
        text TEXT NOT NULL,
        hint TEXT
    );
    CREATE INDEX notices_build ON notices (build);

    -- One row per task, kept when its builds are pruned: what schedulers and `why` ask, answered without a look at all builds.
    CREATE TABLE latest (
        package TEXT NOT NULL,
        task TEXT NOT NULL,
        build TEXT NOT NULL,
        finished_ms INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        tier TEXT,
        key TEXT,
        reason TEXT,                      -- JSON
        samples TEXT NOT NULL,            -- the last runs of the command: wall,cpu,memory; newest first
        runs INTEGER NOT NULL,
        expected_us INTEGER NOT NULL,
        expected_cpu_us INTEGER NOT NULL,
        expected_memory INTEGER NOT NULL,
        PRIMARY KEY (package, task)
    ) WITHOUT ROWID;
"];

/// The schema version of this program.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("the list of migrations is short")
}

/// The database's schema version; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the database to the newest version. Concurrent callers wait for each other; each step is all or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = version(&transaction)?;
        let Some(step) = usize::try_from(from).ok().and_then(|index| MIGRATIONS.get(index)) else {
            return Ok(());
        };
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", from + 1)?;
        transaction.commit()?;
    }
}
