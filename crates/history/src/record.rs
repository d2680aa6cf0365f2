//! What is kept of one build.

use std::fmt;

use buildnet_event::{BuildId, BuildOutcome, Level, TaskName, TaskSummary, TierCounts};
use serde::{Deserialize, Serialize};

/// Where a recorded build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildStatus {
    /// The process that builds is alive.
    Running,
    /// The process that built is gone and never told an end: it was killed, or the machine stopped.
    Interrupted,
    /// See [`BuildOutcome::Success`].
    Success,
    /// See [`BuildOutcome::Failed`].
    Failed,
    /// See [`BuildOutcome::Cancelled`].
    Cancelled,
    /// See [`BuildOutcome::Error`].
    Error,
}

impl BuildStatus {
    /// The status as users read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }

    /// The status with this name, of those that an end was told for.
    pub(crate) fn finished_from_name(name: &str) -> Option<Self> {
        [Self::Success, Self::Failed, Self::Cancelled, Self::Error].into_iter().find(|status| status.name() == name)
    }
}

impl From<BuildOutcome> for BuildStatus {
    fn from(outcome: BuildOutcome) -> Self {
        match outcome {
            BuildOutcome::Success => Self::Success,
            BuildOutcome::Failed => Self::Failed,
            BuildOutcome::Cancelled => Self::Cancelled,
            BuildOutcome::Error => Self::Error,
        }
    }
}

impl fmt::Display for BuildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A build without its tasks: one line of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildHead {
    /// The build.
    pub id: BuildId,
    /// The workspace's root directory.
    pub workspace: String,
    /// What was asked for, as a user would type it.
    pub command: String,
    /// Number of tasks in the graph of this build.
    pub task_count: u64,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Where it stands.
    pub status: BuildStatus,
    /// Wall time in microseconds; 0 while no end was told.
    pub duration_us: u64,
    /// Tasks by tier.
    pub counts: TierCounts,
    /// Execution time that caches and unchanged inputs saved, in microseconds of one core.
    pub saved_us: u64,
}

impl BuildHead {
    /// The shortest prefix of the identifier that is unique for builds that did not begin in the same millisecond.
    pub fn short_id(&self) -> String {
        // The first 48 bits of a UUID of version 7 are the time in milliseconds: 12 digits and a hyphen.
        let mut text = self.id.to_string();
        text.truncate(13);
        text
    }
}

/// A task of a recorded build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// What was told of the task when it ended.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// When work began, in microseconds after the build's beginning.
    pub start_us: u64,
    /// When the command's process was first started, in microseconds after the build's beginning; none if it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execute_us: Option<u64>,
    /// When it ended, in microseconds after the build's beginning.
    pub finish_us: u64,
}

/// A notice of a recorded build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeRecord {
    /// When, in microseconds after the build's beginning.
    pub time_us: u64,
    /// Importance.
    pub level: Level,
    /// The text.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// All that is kept of one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The build itself.
    #[serde(flatten)]
    pub head: BuildHead,
    /// Tasks that were not instant, in the order in which they ended.
    pub tasks: Vec<TaskRecord>,
    /// Names of the tasks for which nothing was read or run, sorted.
    pub instant: Vec<TaskName>,
    /// Notices, in order.
    pub notices: Vec<NoticeRecord>,
}
