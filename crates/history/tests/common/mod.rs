//! Builds to record.

use std::sync::Arc;

use buildnet_event::{
    BuildId, BuildOutcome, Event, EventKind, InputChange, InputPart, Level, Reason, TaskName, TaskOutcome, TaskSummary,
    TaskUsage, Tier, TierCounts,
};
use buildnet_history::{HistoryStore, Recorder, Retention, SqliteHistory};

/// 2026-01-02T03:04:05Z.
pub(crate) const EPOCH_MS: u64 = 1_767_323_045_000;

/// The history at the path, which must open.
pub(crate) fn open(path: &std::path::Path) -> Arc<SqliteHistory> {
    Arc::new(SqliteHistory::open(path).unwrap())
}

/// A build's identifier with the given time and tail, of UUID version 7.
pub(crate) fn id(time_ms: u64, tail: u64) -> BuildId {
    BuildId(format!("{time_ms:012x}70008{tail:015x}").parse().unwrap())
}

/// A task that succeeded at a tier.
pub(crate) fn summary(package: &str, tier: Tier, duration_us: u64) -> TaskSummary {
    TaskSummary {
        tier: Some(tier),
        duration_us,
        execution_us: if tier == Tier::Instant { 0 } else { duration_us },
        key: Some(format!("blake3:{package}/1")),
        usage: TaskUsage { cpu_us: duration_us * 2, peak_memory: 1 << 20 },
        attempts: 1,
        ..TaskSummary::new(TaskName::new(package, "build"), Vec::new())
    }
}

/// The events of a build whose tasks end in order, one millisecond apart after their durations.
pub(crate) fn events(id: BuildId, started_ms: u64, outcome: BuildOutcome, tasks: Vec<TaskSummary>) -> Vec<Event> {
    let mut kinds = vec![(
        started_ms,
        EventKind::BuildStarted {
            workspace: "/home/ada/shop".to_owned(),
            command: "build".to_owned(),
            tasks: tasks.len() as u64,
        },
    )];
    let mut counts = TierCounts::default();
    let mut now = started_ms;
    for task in tasks {
        match (task.outcome, task.tier) {
            (TaskOutcome::Success, Some(Tier::Instant)) => counts.instant += 1,
            (TaskOutcome::Success, Some(Tier::Cached)) => counts.cached += 1,
            (TaskOutcome::Success, Some(Tier::Incremental)) => counts.incremental += 1,
            (TaskOutcome::Success, _) => counts.full += 1,
            (TaskOutcome::Failed, _) => counts.failed += 1,
            (TaskOutcome::Skipped | TaskOutcome::Cancelled, _) => counts.skipped += 1,
        }
        if task.attempts > 0 && task.tier != Some(Tier::Instant) {
            kinds.push((now + 1, EventKind::TaskExecuting { task: task.task.clone(), attempt: 1 }));
        }
        now += task.duration_us.div_ceil(1000);
        kinds.push((now, EventKind::TaskFinished(Box::new(task))));
    }
    kinds.push((
        now,
        EventKind::BuildFinished { outcome, duration_us: (now - started_ms) * 1000, counts, saved_us: 42 },
    ));
    let numbered = kinds.into_iter().zip(1..);
    numbered.map(|((time_ms, kind), seq)| Event { seq, time_ms, build: Some(id), kind }).collect()
}

/// A notice of a build.
pub(crate) fn notice(id: BuildId, time_ms: u64, text: &str) -> Event {
    let kind = EventKind::Notice { level: Level::Warning, text: text.to_owned(), hint: Some("Do it.".to_owned()) };
    Event { seq: 0, time_ms, build: Some(id), kind }
}

/// A reason with one changed file.
pub(crate) fn changed(file: &str) -> Reason {
    let change =
        InputChange { part: InputPart::File, name: file.to_owned(), before: None, after: Some("1f".to_owned()) };
    Reason::Changed { changes: vec![change], more: 3 }
}

/// Records the events of one or more builds.
pub(crate) fn record(store: &Arc<SqliteHistory>, events: &[Event]) {
    let mut recorder = Recorder::new(Arc::clone(store) as Arc<dyn HistoryStore>, Retention::default());
    for event in events {
        recorder.record(event).unwrap();
    }
}
