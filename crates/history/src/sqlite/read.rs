//! What asks the database.

use std::collections::HashMap;

use buildnet_event::{BuildId, TaskName, TaskSummary, TaskUsage, TierCounts};
use rusqlite::{Connection, OptionalExtension, Row};

use super::Failure;
use super::encoding::{int, parse_level, parse_names, parse_outcome, parse_tier, uint, unknown};
use crate::error::HistoryError;
use crate::estimate::Expectation;
use crate::process::ProcessMark;
use crate::record::{BuildHead, BuildRecord, BuildStatus, NoticeRecord, TaskRecord};
use crate::store::{BuildSelector, LastRun, Page, Statistics, TaskFigures, TaskRun};

/// Identifiers named when a prefix fits several.
const NAMED_MATCHES: u32 = 10;

/// Columns that [`head`] reads, in its order.
const HEAD: &str = "id, workspace, command, task_count, started_ms, pid, born, outcome, duration_us,
                    instant, cached, incremental, full, failed, skipped, saved_us";

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(uint)
}

fn id(column: usize, text: &str) -> rusqlite::Result<BuildId> {
    text.parse().map_err(|_| unknown(column, text))
}

fn head(row: &Row<'_>) -> rusqlite::Result<BuildHead> {
    let status = match row.get_ref(7)?.as_str_or_null()? {
        Some(name) => BuildStatus::finished_from_name(name).ok_or_else(|| unknown(7, name))?,
        None if (ProcessMark { pid: row.get(5)?, born: row.get(6)? }).is_alive() => BuildStatus::Running,
        None => BuildStatus::Interrupted,
    };
    Ok(BuildHead {
        id: id(0, row.get_ref(0)?.as_str()?)?,
        workspace: row.get(1)?,
        command: row.get(2)?,
        task_count: number(row, 3)?,
        started_ms: number(row, 4)?,
        status,
        duration_us: number(row, 8)?,
        counts: TierCounts {
            instant: number(row, 9)?,
            cached: number(row, 10)?,
            incremental: number(row, 11)?,
            full: number(row, 12)?,
            failed: number(row, 13)?,
            skipped: number(row, 14)?,
        },
        saved_us: number(row, 15)?,
    })
}

pub(super) fn builds(connection: &Connection, page: Page) -> Result<Vec<BuildHead>, Failure> {
    // A build that is no longer there was the oldest: nothing is before it.
    let sql = format!(
        "SELECT {HEAD} FROM builds
         WHERE ?1 IS NULL OR seq < (SELECT seq FROM builds WHERE id = ?1) ORDER BY seq DESC LIMIT ?2"
    );
    let before = page.before.map(|id| id.to_string());
    let mut statement = connection.prepare_cached(&sql)?;
    let heads = statement.query_map((before, page.limit), head)?.collect::<rusqlite::Result<_>>()?;
    Ok(heads)
}

pub(super) fn resolve(connection: &Connection, selector: &BuildSelector) -> Result<BuildId, Failure> {
    let not_found = || HistoryError::NotFound { selector: selector.to_string() };
    let text: Option<String> = match selector {
        BuildSelector::Last(back) => connection
            .query_row("SELECT id FROM builds ORDER BY seq DESC LIMIT 1 OFFSET ?1", [back], |row| row.get(0))
            .optional()?,
        BuildSelector::Id(id) => connection
            .query_row("SELECT id FROM builds WHERE id = ?1", [id.to_string()], |row| row.get(0))
            .optional()?,
        BuildSelector::Prefix(prefix) => {
            // `g` follows all hexadecimal digits and the hyphen.
            let mut statement = connection
                .prepare_cached("SELECT id FROM builds WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT ?2")?;
            let mut matches: Vec<String> =
                statement.query_map((prefix, NAMED_MATCHES), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            if matches.len() > 1 {
                return Err(HistoryError::Ambiguous { prefix: prefix.clone(), matches }.into());
            }
            matches.pop()
        }
    };
    let text = text.ok_or_else(not_found)?;
    Ok(id(0, &text)?)
}

pub(super) fn build(connection: &mut Connection, id: BuildId) -> Result<BuildRecord, Failure> {
    // One snapshot, so that a build that ends meanwhile is seen whole or not at all.
    let transaction = connection.transaction()?;
    let found = transaction
        .query_row(&format!("SELECT {HEAD}, seq, instant_set FROM builds WHERE id = ?1"), [id.to_string()], |row| {
            Ok((head(row)?, row.get::<_, i64>(16)?, row.get::<_, Option<i64>>(17)?))
        })
        .optional()?;
    let (head, seq, instant_set) = found.ok_or_else(|| HistoryError::NotFound { selector: id.to_string() })?;
    let instant = match instant_set {
        Some(set) => transaction.query_row("SELECT names FROM name_sets WHERE id = ?1", [set], |row| {
            Ok(parse_names(row.get_ref(0)?.as_blob()?))
        })?,
        None => Vec::new(),
    };
    let tasks = transaction
        .prepare_cached(
            "SELECT package, task, outcome, tier, start_us, execute_us, finish_us, duration_us, execution_us, cpu_us,
                    peak_memory, attempts, key, exit_code, error, hint, log_path, log_tail, reason, dependencies
             FROM tasks WHERE build = ?1 ORDER BY rowid",
        )?
        .query_map([seq], task)?
        .collect::<rusqlite::Result<_>>()?;
    let notices = transaction
        .prepare_cached("SELECT time_us, level, text, hint FROM notices WHERE build = ?1 ORDER BY rowid")?
        .query_map([seq], |row| {
            Ok(NoticeRecord {
                time_us: number(row, 0)?,
                level: parse_level(1, row.get_ref(1)?.as_str()?)?,
                text: row.get(2)?,
                hint: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(BuildRecord { head, tasks, instant, notices })
}

fn name(row: &Row<'_>) -> rusqlite::Result<TaskName> {
    Ok(TaskName::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?))
}

fn task(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    Ok(TaskRecord {
        summary: TaskSummary {
            task: name(row)?,
            outcome: parse_outcome(2, row.get_ref(2)?.as_str()?)?,
            tier: parse_tier(3, row.get_ref(3)?.as_str_or_null()?)?,
            duration_us: number(row, 7)?,
            execution_us: number(row, 8)?,
            key: row.get(12)?,
            exit_code: row.get(13)?,
            error: row.get(14)?,
            hint: row.get(15)?,
            log_path: row.get(16)?,
            log_tail: row.get(17)?,
            reason: reason(row, 18)?,
            usage: TaskUsage { cpu_us: number(row, 9)?, peak_memory: number(row, 10)? },
            attempts: row.get(11)?,
            // Not kept: it says something about a cache at a time, not about the task.
            remote: false,
            dependencies: parse_names(row.get_ref(19)?.as_blob()?),
        },
        start_us: number(row, 4)?,
        execute_us: row.get::<_, Option<i64>>(5)?.map(uint),
        finish_us: number(row, 6)?,
    })
}

fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<buildnet_event::Reason>> {
    let Some(json) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(json).map(Some).map_err(|_| unknown(column, json))
}

fn expectation(row: &Row<'_>) -> rusqlite::Result<Expectation> {
    Ok(Expectation { execution_us: number(row, 2)?, cpu_us: number(row, 3)?, peak_memory: number(row, 4)? })
}

pub(super) fn expectations(connection: &Connection) -> Result<HashMap<TaskName, Expectation>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT package, task, expected_us, expected_cpu_us, expected_memory FROM latest WHERE runs > 0",
    )?;
    let rows = statement.query_map([], |row| Ok((name(row)?, expectation(row)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn slowest(connection: &Connection, limit: u32) -> Result<Vec<TaskFigures>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT package, task, expected_us, expected_cpu_us, expected_memory, runs FROM latest
         WHERE runs > 0 ORDER BY expected_us DESC, package, task LIMIT ?1",
    )?;
    let rows = statement.query_map([limit], |row| {
        Ok(TaskFigures { task: name(row)?, expected: expectation(row)?, runs: row.get(5)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn last_run(connection: &Connection, task: &TaskName) -> Result<Option<LastRun>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT build, finished_ms, outcome, tier, key, reason FROM latest WHERE package = ?1 AND task = ?2",
    )?;
    let run = statement
        .query_row([&task.package, &task.task], |row| {
            Ok(LastRun {
                build: id(0, row.get_ref(0)?.as_str()?)?,
                finished_ms: number(row, 1)?,
                outcome: parse_outcome(2, row.get_ref(2)?.as_str()?)?,
                tier: parse_tier(3, row.get_ref(3)?.as_str_or_null()?)?,
                key: row.get(4)?,
                reason: reason(row, 5)?,
            })
        })
        .optional()?;
    Ok(run)
}

pub(super) fn runs(connection: &Connection, task: &TaskName, limit: u32) -> Result<Vec<TaskRun>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT builds.id, builds.started_ms, tasks.outcome, tier, tasks.duration_us, cpu_us, peak_memory
         FROM tasks JOIN builds ON builds.seq = tasks.build
         WHERE package = ?1 AND task = ?2 ORDER BY tasks.build DESC LIMIT ?3",
    )?;
    let rows = statement.query_map((&task.package, &task.task, limit), |row| {
        Ok(TaskRun {
            build: id(0, row.get_ref(0)?.as_str()?)?,
            build_started_ms: number(row, 1)?,
            outcome: parse_outcome(2, row.get_ref(2)?.as_str()?)?,
            tier: parse_tier(3, row.get_ref(3)?.as_str_or_null()?)?,
            duration_us: number(row, 4)?,
            cpu_us: number(row, 5)?,
            peak_memory: number(row, 6)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn statistics(connection: &mut Connection, since_ms: u64) -> Result<Statistics, Failure> {
    let since = int(since_ms);
    let transaction = connection.transaction()?;
    let mut sums = transaction.query_row(
        "SELECT count(*), coalesce(sum(outcome = 'success'), 0), coalesce(sum(outcome = 'failed'), 0),
                coalesce(sum(instant), 0), coalesce(sum(cached), 0), coalesce(sum(incremental), 0),
                coalesce(sum(full), 0), coalesce(sum(failed), 0), coalesce(sum(skipped), 0),
                coalesce(sum(duration_us), 0), coalesce(sum(saved_us), 0)
         FROM builds WHERE outcome IS NOT NULL AND started_ms >= ?1",
        [since],
        |row| {
            Ok(Statistics {
                builds: number(row, 0)?,
                succeeded: number(row, 1)?,
                failed: number(row, 2)?,
                counts: TierCounts {
                    instant: number(row, 3)?,
                    cached: number(row, 4)?,
                    incremental: number(row, 5)?,
                    full: number(row, 6)?,
                    failed: number(row, 7)?,
                    skipped: number(row, 8)?,
                },
                duration_us: number(row, 9)?,
                median_us: 0,
                saved_us: number(row, 10)?,
            })
        },
    )?;
    if sums.succeeded > 0 {
        sums.median_us = transaction.query_row(
            "SELECT duration_us FROM builds WHERE outcome = 'success' AND started_ms >= ?1
             ORDER BY duration_us LIMIT 1 OFFSET ?2",
            [since, int((sums.succeeded - 1) / 2)],
            |row| number(row, 0),
        )?;
    }
    Ok(sums)
}
