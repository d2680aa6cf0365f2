//! How values stand in columns.

use buildnet_event::{Level, TaskName, TaskOutcome, Tier};
use rusqlite::types::Type;

/// SQLite's integers are signed; no count, time or size of ours reaches 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The inverse of [`int`]; a negative number in a damaged row reads as 0.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Names as `package NUL task NUL`.
pub(super) fn names(tasks: &[TaskName]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tasks.iter().map(|name| name.package.len() + name.task.len() + 2).sum());
    for name in tasks {
        for part in [&name.package, &name.task] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

/// The inverse of [`names`].
pub(super) fn parse_names(bytes: &[u8]) -> Vec<TaskName> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split_terminator('\0');
    let mut tasks = Vec::new();
    while let (Some(package), Some(task)) = (parts.next(), parts.next()) {
        tasks.push(TaskName::new(package, task));
    }
    tasks
}

/// A task's outcome as text.
pub(super) const fn outcome_name(outcome: TaskOutcome) -> &'static str {
    match outcome {
        TaskOutcome::Success => "success",
        TaskOutcome::Failed => "failed",
        TaskOutcome::Skipped => "skipped",
        TaskOutcome::Cancelled => "cancelled",
    }
}

/// The inverse of [`outcome_name`]; `column` is named in the error.
pub(super) fn parse_outcome(column: usize, text: &str) -> rusqlite::Result<TaskOutcome> {
    use TaskOutcome::{Cancelled, Failed, Skipped, Success};
    let found = [Success, Failed, Skipped, Cancelled].into_iter().find(|&outcome| outcome_name(outcome) == text);
    found.ok_or_else(|| unknown(column, text))
}

/// The tier with this name; `column` is named in the error.
pub(super) fn parse_tier(column: usize, text: Option<&str>) -> rusqlite::Result<Option<Tier>> {
    let Some(text) = text else { return Ok(None) };
    Tier::ALL.into_iter().find(|tier| tier.name() == text).map(Some).ok_or_else(|| unknown(column, text))
}

/// A notice's level as text.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// The inverse of [`level_name`]; `column` is named in the error.
pub(super) fn parse_level(column: usize, text: &str) -> rusqlite::Result<Level> {
    let found = [Level::Info, Level::Warning, Level::Error].into_iter().find(|&level| level_name(level) == text);
    found.ok_or_else(|| unknown(column, text))
}

/// The error for a text that no version of the schema writes.
pub(super) fn unknown(column: usize, text: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("unknown value `{text}`").into())
}
