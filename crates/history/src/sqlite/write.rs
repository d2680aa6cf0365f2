//! What changes the database.

use buildnet_digest::DigestFunction;
use buildnet_event::{TaskName, TaskOutcome, Tier};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params};

use super::Failure;
use super::encoding::{int, level_name, names, outcome_name};
use crate::estimate::{self, Expectation, Sample};
use crate::process::ProcessMark;
use crate::record::{BuildHead, BuildRecord, BuildStatus, NoticeRecord, TaskRecord};
use crate::store::{BuildStart, Pruned, Retention};

/// Builds removed at once while the database is too large.
const PRUNE_STEP: u64 = 32;

const FORGET_UNUSED_SETS: &str =
    "DELETE FROM name_sets WHERE NOT EXISTS (SELECT 1 FROM builds WHERE instant_set = name_sets.id)";

pub(super) fn begin(connection: &mut Connection, start: &BuildStart) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO builds (id, workspace, command, task_count, started_ms, pid, born)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            start.id.to_string(),
            start.workspace,
            start.command,
            int(start.task_count),
            int(start.started_ms),
            start.process.pid,
            start.process.born,
        ])?;
    Ok(())
}

pub(super) fn finish(connection: &mut Connection, build: &BuildRecord) -> Result<(), Failure> {
    // Immediate, since a transaction that reads first cannot wait for another writer later.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let instant_set = instant_set(&transaction, &build.instant)?;
    let seq = head(&transaction, &build.head, instant_set)?;
    for task in &build.tasks {
        insert_task(&transaction, seq, task)?;
        update_latest(&transaction, &build.head, task)?;
    }
    for notice in &build.notices {
        insert_notice(&transaction, seq, notice)?;
    }
    transaction.commit()?;
    Ok(())
}

fn instant_set(transaction: &Transaction<'_>, instant: &[TaskName]) -> rusqlite::Result<Option<i64>> {
    if instant.is_empty() {
        return Ok(None);
    }
    let names = names(instant);
    let digest = DigestFunction::Blake3.digest(&names);
    let known = transaction
        .prepare_cached("SELECT id FROM name_sets WHERE digest = ?1")?
        .query_row([digest.hash()], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    transaction
        .prepare_cached("INSERT INTO name_sets (digest, names) VALUES (?1, ?2)")?
        .insert(params![digest.hash(), names])
        .map(Some)
}

/// Writes the build's row, whether or not its beginning was noted, and returns its number.
fn head(transaction: &Transaction<'_>, head: &BuildHead, instant_set: Option<i64>) -> rusqlite::Result<i64> {
    let outcome = match head.status {
        BuildStatus::Running | BuildStatus::Interrupted => None,
        ended => Some(ended.name()),
    };
    let process = ProcessMark { pid: std::process::id(), born: String::new() };
    transaction
        .prepare_cached(
            "INSERT INTO builds (id, workspace, command, task_count, started_ms, pid, born, outcome, duration_us,
                                 instant, cached, incremental, full, failed, skipped, saved_us, instant_set)
             VALUES (:id, :workspace, :command, :task_count, :started_ms, :pid, :born, :outcome, :duration_us,
                     :instant, :cached, :incremental, :full, :failed, :skipped, :saved_us, :instant_set)
             ON CONFLICT (id) DO UPDATE SET
                 outcome = excluded.outcome, duration_us = excluded.duration_us, instant = excluded.instant,
                 cached = excluded.cached, incremental = excluded.incremental, full = excluded.full,
                 failed = excluded.failed, skipped = excluded.skipped, saved_us = excluded.saved_us,
                 instant_set = excluded.instant_set
             RETURNING seq",
        )?
        .query_row(
            named_params! {
                ":id": head.id.to_string(),
                ":workspace": head.workspace,
                ":command": head.command,
                ":task_count": int(head.task_count),
                ":started_ms": int(head.started_ms),
                ":pid": process.pid,
                ":born": process.born,
                ":outcome": outcome,
                ":duration_us": int(head.duration_us),
                ":instant": int(head.counts.instant),
                ":cached": int(head.counts.cached),
                ":incremental": int(head.counts.incremental),
                ":full": int(head.counts.full),
                ":failed": int(head.counts.failed),
                ":skipped": int(head.counts.skipped),
                ":saved_us": int(head.saved_us),
                ":instant_set": instant_set,
            },
            |row| row.get(0),
        )
}

fn insert_task(transaction: &Transaction<'_>, seq: i64, task: &TaskRecord) -> rusqlite::Result<()> {
    let summary = &task.summary;
    transaction
        .prepare_cached(
            "INSERT INTO tasks VALUES (:build, :package, :task, :outcome, :tier, :start_us, :execute_us, :finish_us,
                 :duration_us, :execution_us, :cpu_us, :peak_memory, :attempts, :key, :exit_code, :error, :hint,
                 :log_path, :log_tail, :reason, :dependencies)",
        )?
        .execute(named_params! {
            ":build": seq,
            ":package": &*summary.task.package,
            ":task": &*summary.task.task,
            ":outcome": outcome_name(summary.outcome),
            ":tier": summary.tier.map(Tier::name),
            ":start_us": int(task.start_us),
            ":execute_us": task.execute_us.map(int),
            ":finish_us": int(task.finish_us),
            ":duration_us": int(summary.duration_us),
            ":execution_us": int(summary.execution_us),
            ":cpu_us": int(summary.usage.cpu_us),
            ":peak_memory": int(summary.usage.peak_memory),
            ":attempts": summary.attempts,
            ":key": summary.key,
            ":exit_code": summary.exit_code,
            ":error": summary.error,
            ":hint": summary.hint,
            ":log_path": summary.log_path,
            ":log_tail": summary.log_tail,
            ":reason": reason_json(task),
            ":dependencies": names(&summary.dependencies),
        })?;
    Ok(())
}

fn reason_json(task: &TaskRecord) -> Option<String> {
    let reason = task.summary.reason.as_ref()?;
    Some(serde_json::to_string(reason).expect("a reason has no map with keys other than text"))
}

/// Keeps the task's last run and what it teaches about the next one. A task that did not get its turn teaches nothing.
fn update_latest(transaction: &Transaction<'_>, head: &BuildHead, task: &TaskRecord) -> rusqlite::Result<()> {
    let summary = &task.summary;
    if !matches!(summary.outcome, TaskOutcome::Success | TaskOutcome::Failed) {
        return Ok(());
    }
    let (package, name) = (&*summary.task.package, &*summary.task.task);
    let samples: Option<String> = transaction
        .prepare_cached("SELECT samples FROM latest WHERE package = ?1 AND task = ?2")?
        .query_row([package, name], |row| row.get(0))
        .optional()?;
    let mut samples = samples.map(|text| estimate::decode(&text)).unwrap_or_default();
    if teaches(task, samples.is_empty()) {
        let sample = Sample {
            execution_us: summary.execution_us,
            cpu_us: summary.usage.cpu_us,
            peak_memory: summary.usage.peak_memory,
        };
        estimate::push(&mut samples, sample);
    }
    let expected = Expectation::from_samples(&samples).unwrap_or_default();
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO latest VALUES (:package, :task, :build, :finished_ms, :outcome, :tier, :key, :reason,
                 :samples, :runs, :expected_us, :expected_cpu_us, :expected_memory)",
        )?
        .execute(named_params! {
            ":package": package,
            ":task": name,
            ":build": head.id.to_string(),
            ":finished_ms": int(head.started_ms.saturating_add(task.finish_us / 1000)),
            ":outcome": outcome_name(summary.outcome),
            ":tier": summary.tier.map(Tier::name),
            ":key": summary.key,
            ":reason": reason_json(task),
            ":samples": estimate::encode(&samples),
            ":runs": int(samples.len() as u64),
            ":expected_us": int(expected.execution_us),
            ":expected_cpu_us": int(expected.cpu_us),
            ":expected_memory": int(expected.peak_memory),
        })?;
    Ok(())
}

/// Whether a run tells how long the command takes: it ran and succeeded here, or nothing is known and a cache tells how long it
/// took where it ran.
fn teaches(task: &TaskRecord, nothing_known: bool) -> bool {
    let summary = &task.summary;
    summary.outcome == TaskOutcome::Success
        && summary.execution_us > 0
        && match summary.tier {
            Some(Tier::Full | Tier::Incremental) => true,
            Some(Tier::Cached) => nothing_known,
            Some(Tier::Instant) | None => false,
        }
}

fn insert_notice(transaction: &Transaction<'_>, seq: i64, notice: &NoticeRecord) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO notices VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        seq,
        int(notice.time_us),
        level_name(notice.level),
        notice.text,
        notice.hint
    ])?;
    Ok(())
}

pub(super) fn prune(connection: &mut Connection, retention: &Retention, now_ms: u64) -> Result<Pruned, Failure> {
    let oldest_ms = now_ms.saturating_sub(u64::try_from(retention.max_age.as_millis()).unwrap_or(u64::MAX));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut builds = transaction.execute(
        "DELETE FROM builds WHERE started_ms < ?1
             OR seq <= (SELECT seq FROM builds ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        [int(oldest_ms), int(retention.max_builds)],
    )?;
    while used_bytes(&transaction)? > retention.max_bytes {
        let removed = transaction.execute(
            "DELETE FROM builds WHERE seq IN (SELECT seq FROM builds ORDER BY seq LIMIT ?1)",
            [int(PRUNE_STEP)],
        )?;
        transaction.execute(FORGET_UNUSED_SETS, [])?;
        builds += removed;
        if removed == 0 {
            break;
        }
    }
    if builds > 0 {
        transaction.execute(FORGET_UNUSED_SETS, [])?;
    }
    transaction.execute("DELETE FROM latest WHERE finished_ms < ?1", [int(oldest_ms)])?;
    transaction.commit()?;
    if builds > 0 {
        // Gives the freed pages back to the file system.
        connection.prepare("PRAGMA incremental_vacuum")?.query([])?.next()?;
    }
    Ok(Pruned { builds: builds as u64 })
}

fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
    Ok((pragma("page_count")?.saturating_sub(pragma("freelist_count")?)) * pragma("page_size")?)
}
