//! From the event stream to the history.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use buildnet_event::{
    BuildId, BuildOutcome, Event, EventKind, Level, TaskName, TaskOutcome, TaskSummary, Tier, TierCounts,
};

use crate::error::HistoryError;
use crate::process::ProcessMark;
use crate::record::{BuildHead, BuildRecord, BuildStatus, NoticeRecord, TaskRecord};
use crate::store::{BuildStart, HistoryStore, Retention};

/// Notices kept of one build; what comes after is counted only.
const MAX_NOTICES: usize = 500;

/// One build in so many prunes the history, chosen by the identifier's random bits.
const PRUNE_EVERY: u128 = 32;

/// Reads the events of builds, any number of them at once, and keeps them in a history.
///
/// A build costs one small write when it begins and one transaction when it ends. Between them the recorder only moves what it is
/// told; an instant task costs it a shared name.
pub struct Recorder {
    store: Arc<dyn HistoryStore>,
    retention: Retention,
    process: ProcessMark,
    pending: HashMap<BuildId, Pending>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("retention", &self.retention)
            .field("pending", &self.pending.keys())
            .finish_non_exhaustive()
    }
}

/// A build under way.
#[derive(Debug)]
struct Pending {
    start: BuildStart,
    tasks: Vec<TaskRecord>,
    instant: Vec<TaskName>,
    notices: Vec<NoticeRecord>,
    /// Notices beyond [`MAX_NOTICES`].
    more_notices: u64,
    /// When the command of each unfinished task was first started.
    executing: HashMap<TaskName, u64>,
}

impl Recorder {
    /// A recorder that keeps builds in `store`, within the bounds.
    pub fn new(store: Arc<dyn HistoryStore>, retention: Retention) -> Self {
        Self { store, retention, process: ProcessMark::current(), pending: HashMap::new() }
    }

    /// Takes the next event. An error means that this build, or its beginning, was not kept; later events can still be recorded.
    pub fn record(&mut self, event: &Event) -> Result<(), HistoryError> {
        let Some(id) = event.build else { return Ok(()) };
        if let EventKind::BuildStarted { workspace, command, tasks } = &event.kind {
            let start = BuildStart {
                id,
                workspace: workspace.clone(),
                command: command.clone(),
                task_count: *tasks,
                started_ms: event.time_ms,
                process: self.process.clone(),
            };
            let begun = self.store.begin(&start);
            self.pending.insert(id, Pending::new(start));
            return begun;
        }
        if let EventKind::BuildFinished { outcome, duration_us, counts, saved_us } = &event.kind {
            let Some(pending) = self.pending.remove(&id) else { return Ok(()) };
            let build = pending.finish(*outcome, *duration_us, *counts, *saved_us);
            self.store.finish(&build)?;
            if id.0.as_u128().is_multiple_of(PRUNE_EVERY) {
                self.store.prune(&self.retention, event.time_ms)?;
            }
            return Ok(());
        }
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.take(event);
        }
        Ok(())
    }

    /// Notes in all builds under way that `missed` events never reached the recorder.
    pub fn missed(&mut self, missed: u64) {
        for pending in self.pending.values_mut() {
            let text = format!("{missed} events were not recorded; figures of this build are incomplete");
            pending.notice(0, Level::Warning, text, None);
        }
    }
}

impl Pending {
    fn new(start: BuildStart) -> Self {
        Self {
            start,
            tasks: Vec::new(),
            instant: Vec::new(),
            notices: Vec::new(),
            more_notices: 0,
            executing: HashMap::new(),
        }
    }

    /// Time of an event in microseconds after the build's beginning.
    fn offset_us(&self, event: &Event) -> u64 {
        event.time_ms.saturating_sub(self.start.started_ms).saturating_mul(1000)
    }

    fn take(&mut self, event: &Event) {
        match &event.kind {
            EventKind::TaskExecuting { task, .. } => {
                let offset = self.offset_us(event);
                self.executing.entry(task.clone()).or_insert(offset);
            }
            EventKind::TaskFinished(summary) => self.task(event, summary),
            EventKind::TasksUnchanged { tasks } => self.instant.extend_from_slice(tasks),
            EventKind::Notice { level, text, hint } => {
                self.notice(self.offset_us(event), *level, text.clone(), hint.clone());
            }
            EventKind::BuildStarted { .. }
            | EventKind::TaskStarted { .. }
            | EventKind::TaskOutput { .. }
            | EventKind::TaskRetry { .. }
            | EventKind::BuildFinished { .. } => {}
        }
    }

    fn task(&mut self, event: &Event, summary: &TaskSummary) {
        if summary.outcome == TaskOutcome::Success && summary.tier == Some(Tier::Instant) {
            self.instant.push(summary.task.clone());
            return;
        }
        // Events carry milliseconds, durations microseconds: the beginning is reckoned from the end.
        let finish_us = self.offset_us(event).max(summary.duration_us);
        let start_us = finish_us - summary.duration_us;
        let execute_us = self.executing.remove(&summary.task).map(|offset| offset.clamp(start_us, finish_us));
        self.tasks.push(TaskRecord { summary: summary.clone(), start_us, execute_us, finish_us });
    }

    fn notice(&mut self, time_us: u64, level: Level, text: String, hint: Option<String>) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push(NoticeRecord { time_us, level, text, hint });
        } else {
            self.more_notices += 1;
        }
    }

    fn finish(mut self, outcome: BuildOutcome, duration_us: u64, counts: TierCounts, saved_us: u64) -> BuildRecord {
        if self.more_notices > 0 {
            let text = format!("{} more notices were not recorded", self.more_notices);
            self.notices.push(NoticeRecord { time_us: duration_us, level: Level::Info, text, hint: None });
        }
        // Sorted, so that builds with the same instant tasks share one set whatever the order in which they ended.
        self.instant.sort_unstable();
        let BuildStart { id, workspace, command, task_count, started_ms, process: _ } = self.start;
        BuildRecord {
            head: BuildHead {
                id,
                workspace,
                command,
                task_count,
                started_ms,
                status: BuildStatus::from(outcome),
                duration_us,
                counts,
                saved_us,
            },
            tasks: self.tasks,
            instant: self.instant,
            notices: self.notices,
        }
    }
}
