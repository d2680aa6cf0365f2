//! What is known of a build so far.

use std::sync::Arc;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::{Line, Note};
use buildnet_event::{BuildOutcome, Event, EventKind, TaskName, TaskOutcome, TaskSummary, Tier, TierCounts};

/// A task at work.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) task: TaskName,
    pub(crate) started_ms: u64,
    pub(crate) expected_us: Option<u64>,
    pub(crate) phase: Phase,
}

/// What a running task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Inputs are read and caches asked.
    Checking,
    /// The command runs.
    Executing,
    /// The environment failed; the command starts again at this time.
    Retrying { at_ms: u64, attempt: u32 },
}

/// The end of a build.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    pub(crate) outcome: BuildOutcome,
    pub(crate) duration_us: u64,
    pub(crate) counts: TierCounts,
    pub(crate) saved_us: u64,
}

/// A build, as its lines tell it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) total: u64,
    pub(crate) started_ms: u64,
    pub(crate) counts: TierCounts,
    pub(crate) running: Vec<Running>,
    pub(crate) failed: Vec<TaskName>,
    pub(crate) finish: Option<Finish>,
    pub(crate) error: Option<ErrorReport>,
    /// A user asked to stop.
    pub(crate) cancelling: bool,
    /// Wall time of tasks that were not instant, and how many.
    worked_us: u64,
    worked: u64,
}

impl Progress {
    /// Takes in a line.
    pub(crate) fn take(&mut self, line: &Line) {
        match line {
            Line::Note(Note::Instant { count }) => self.counts.instant += count,
            Line::Note(Note::Gap { .. }) => {}
            Line::Note(Note::Error { error }) => self.error = Some(error.clone()),
            Line::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: &Arc<Event>) {
        match &event.kind {
            EventKind::BuildStarted { tasks, .. } => {
                self.total = *tasks;
                self.started_ms = event.time_ms;
            }
            EventKind::TaskStarted { task, expected_us } => self.running.push(Running {
                task: task.clone(),
                started_ms: event.time_ms,
                expected_us: *expected_us,
                phase: Phase::Checking,
            }),
            EventKind::TaskExecuting { task, .. } => self.set_phase(task, Phase::Executing),
            EventKind::TaskRetry { task, attempt, delay_ms, .. } => {
                let at_ms = event.time_ms.saturating_add(*delay_ms);
                self.set_phase(task, Phase::Retrying { at_ms, attempt: attempt + 1 });
            }
            EventKind::TaskFinished(task) => self.finished(task),
            EventKind::TasksUnchanged { tasks } => self.counts.instant += tasks.len() as u64,
            EventKind::TaskOutput { .. } | EventKind::Notice { .. } => {}
            EventKind::BuildFinished { outcome, duration_us, counts, saved_us } => {
                let (outcome, duration_us, counts, saved_us) = (*outcome, *duration_us, *counts, *saved_us);
                self.finish = Some(Finish { outcome, duration_us, counts, saved_us });
                self.running.clear();
            }
        }
    }

    fn set_phase(&mut self, task: &TaskName, phase: Phase) {
        if let Some(running) = self.running.iter_mut().find(|running| running.task == *task) {
            running.phase = phase;
        }
    }

    fn finished(&mut self, task: &TaskSummary) {
        self.running.retain(|running| running.task != task.task);
        match task.outcome {
            TaskOutcome::Success => {
                match task.tier.unwrap_or(Tier::Full) {
                    Tier::Instant => self.counts.instant += 1,
                    Tier::Cached => self.counts.cached += 1,
                    Tier::Incremental => self.counts.incremental += 1,
                    Tier::Full => self.counts.full += 1,
                }
                if task.tier != Some(Tier::Instant) {
                    self.worked += 1;
                    self.worked_us += task.duration_us;
                }
            }
            TaskOutcome::Failed => {
                self.counts.failed += 1;
                self.failed.push(task.task.clone());
            }
            TaskOutcome::Skipped | TaskOutcome::Cancelled => self.counts.skipped += 1,
        }
    }

    /// Whether everything so far was instant.
    pub(crate) fn is_idle(&self) -> bool {
        self.done() == self.counts.instant
    }

    /// How many tasks have ended.
    pub(crate) fn done(&self) -> u64 {
        let TierCounts { instant, cached, incremental, full, failed, skipped } = self.counts;
        instant + cached + incremental + full + failed + skipped
    }

    /// Microseconds until the end, as far as one can tell: the running tasks' expected rest, and for those that wait the mean of what
    /// was done so far, shared by as many as run now. None before anything is known.
    pub(crate) fn eta_us(&self, now_ms: u64) -> Option<u64> {
        let mean = self.worked_us.checked_div(self.worked);
        let lanes = self.running.len().max(1) as u64;
        let waiting = self.total.saturating_sub(self.done()).saturating_sub(self.running.len() as u64);
        let mut longest = 0;
        let mut rest = waiting * if waiting > 0 { mean? } else { 0 };
        for task in &self.running {
            let elapsed = now_ms.saturating_sub(task.started_ms) * 1000;
            let left = task.expected_us.or(mean)?.saturating_sub(elapsed);
            longest = longest.max(left);
            rest += left;
        }
        Some(longest.max(rest / lanes))
    }
}
