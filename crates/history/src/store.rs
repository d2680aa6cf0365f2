//! What a history answers, whatever holds it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use buildnet_event::{BuildId, Reason, TaskName, TaskOutcome, Tier, TierCounts};

use crate::error::HistoryError;
use crate::estimate::Expectation;
use crate::process::ProcessMark;
use crate::record::{BuildHead, BuildRecord};

/// A build that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStart {
    /// The build.
    pub id: BuildId,
    /// The workspace's root directory.
    pub workspace: String,
    /// What was asked for, as a user would type it.
    pub command: String,
    /// Number of tasks in the graph of this build.
    pub task_count: u64,
    /// When, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The process that builds.
    pub process: ProcessMark,
}

/// Which builds of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many.
    pub limit: u32,
    /// Only builds older than this one, which ends the page before; none for the newest.
    pub before: Option<BuildId>,
}

impl Page {
    /// The newest builds.
    pub const fn newest(limit: u32) -> Self {
        Self { limit, before: None }
    }
}

/// Names a build as users do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildSelector {
    /// The newest but so many: `last`, `last~1`.
    Last(u32),
    /// A full identifier.
    Id(BuildId),
    /// The beginning of an identifier: hexadecimal digits and hyphens, lowercase.
    Prefix(String),
}

impl FromStr for BuildSelector {
    type Err = HistoryError;

    fn from_str(text: &str) -> Result<Self, HistoryError> {
        let bad = || HistoryError::BadSelector { text: text.chars().take(80).collect() };
        if let Some(rest) = text.strip_prefix("last") {
            return match rest.strip_prefix('~') {
                Some(back) => back.parse().map(Self::Last).map_err(|_| bad()),
                None if rest.is_empty() => Ok(Self::Last(0)),
                None => Err(bad()),
            };
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let fits = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if text.is_empty() || text.len() > 36 || !text.bytes().all(fits) {
            return Err(bad());
        }
        Ok(Self::Prefix(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for BuildSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(0) => f.write_str("last"),
            Self::Last(back) => write!(f, "last~{back}"),
            Self::Id(id) => id.fmt(f),
            Self::Prefix(prefix) => f.write_str(prefix),
        }
    }
}

/// The last time that a task was not instant.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRun {
    /// The build.
    pub build: BuildId,
    /// When it ended, in milliseconds since the Unix epoch.
    pub finished_ms: u64,
    /// How.
    pub outcome: TaskOutcome,
    /// How much work it was; none if it did not succeed.
    pub tier: Option<Tier>,
    /// The action's digest, as text.
    pub key: Option<String>,
    /// Why it was not instant.
    pub reason: Option<Reason>,
}

/// What a task takes, over its last runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFigures {
    /// The task.
    pub task: TaskName,
    /// What the next run may be expected to take.
    pub expected: Expectation,
    /// How many runs that rests on.
    pub runs: u32,
}

/// One run of a task, for its trend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRun {
    /// The build.
    pub build: BuildId,
    /// When the build began, in milliseconds since the Unix epoch.
    pub build_started_ms: u64,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// How much work it was.
    pub tier: Option<Tier>,
    /// Wall time in the build, in microseconds.
    pub duration_us: u64,
    /// CPU time, in microseconds.
    pub cpu_us: u64,
    /// Highest resident memory, in bytes.
    pub peak_memory: u64,
}

/// Sums over builds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Builds that ended, however.
    pub builds: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those in which a command failed.
    pub failed: u64,
    /// Tasks by tier, over all of them.
    pub counts: TierCounts,
    /// Wall time of all of them, in microseconds.
    pub duration_us: u64,
    /// Median wall time of the successful ones, in microseconds; 0 without any.
    pub median_us: u64,
    /// Execution time that caches and unchanged inputs saved, in microseconds of one core.
    pub saved_us: u64,
}

impl Statistics {
    /// Share of successful tasks whose command did not run, from 0 to 1; none without tasks.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people; counts stay far below 2^52")]
    pub fn hit_rate(&self) -> Option<f64> {
        let hits = self.counts.instant + self.counts.cached;
        let all = hits + self.counts.incremental + self.counts.full;
        (all > 0).then(|| hits as f64 / all as f64)
    }
}

/// How much is kept. Whatever exceeds one of the bounds is removed, oldest builds first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of builds.
    pub max_builds: u64,
    /// Age.
    pub max_age: Duration,
    /// Size of the store in bytes.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// 2,000 builds, 90 days, 256 MiB.
    fn default() -> Self {
        Self { max_builds: 2_000, max_age: Duration::from_hours(90 * 24), max_bytes: 256 << 20 }
    }
}

/// What pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Builds.
    pub builds: u64,
}

/// A history. All methods may be called from any thread, and several processes may hold the same history.
pub trait HistoryStore: Send + Sync {
    /// Notes that a build began, so that it shows as interrupted should it never end.
    fn begin(&self, start: &BuildStart) -> Result<(), HistoryError>;

    /// Keeps a build that ended, in one transaction: all of it is there afterwards, or nothing.
    fn finish(&self, build: &BuildRecord) -> Result<(), HistoryError>;

    /// Builds, newest first.
    fn builds(&self, page: Page) -> Result<Vec<BuildHead>, HistoryError>;

    /// The build that a user names.
    fn resolve(&self, selector: &BuildSelector) -> Result<BuildId, HistoryError>;

    /// All that is kept of a build.
    fn build(&self, id: BuildId) -> Result<BuildRecord, HistoryError>;

    /// What the tasks' commands may be expected to take, in one query.
    fn expectations(&self) -> Result<HashMap<TaskName, Expectation>, HistoryError>;

    /// The last time that a task was not instant.
    fn last_run(&self, task: &TaskName) -> Result<Option<LastRun>, HistoryError>;

    /// The last runs of a task, newest first.
    fn runs(&self, task: &TaskName, limit: u32) -> Result<Vec<TaskRun>, HistoryError>;

    /// The tasks whose commands take longest, longest first.
    fn slowest(&self, limit: u32) -> Result<Vec<TaskFigures>, HistoryError>;

    /// Sums over the builds that began at or after `since_ms` (milliseconds since the Unix epoch).
    fn statistics(&self, since_ms: u64) -> Result<Statistics, HistoryError>;

    /// Removes what exceeds the bounds; `now_ms` is the time now, in milliseconds since the Unix epoch.
    fn prune(&self, retention: &Retention, now_ms: u64) -> Result<Pruned, HistoryError>;
}
