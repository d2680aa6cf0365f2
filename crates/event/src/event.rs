//! The events themselves.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the stream of one process: starts at 1 and has no gaps.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The build it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build: Option<BuildId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Identifies one invocation: a UUID of version 7, so that identifiers sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(pub uuid::Uuid);

impl BuildId {
    /// A fresh identifier.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7())
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BuildId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A task of a package, written `package:task`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskName {
    /// The package's name.
    pub package: Arc<str>,
    /// The task's name, such as `build`.
    pub task: Arc<str>,
}

impl TaskName {
    /// A task name from its parts.
    pub fn new(package: impl Into<Arc<str>>, task: impl Into<Arc<str>>) -> Self {
        Self { package: package.into(), task: task.into() }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.package, self.task)
    }
}

/// How much work a task was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Nothing was stat-different; nothing was read.
    Instant,
    /// The action's result came from a cache, or early cutoff showed it unchanged.
    Cached,
    /// The command ran on top of state that an earlier run of it left.
    Incremental,
    /// The command ran from nothing.
    Full,
}

impl Tier {
    /// All tiers, cheapest first.
    pub const ALL: [Self; 4] = [Self::Instant, Self::Cached, Self::Incremental, Self::Full];

    /// The tier's name as users read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Cached => "cached",
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

/// Tasks finished, by tier, and those without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TierCounts {
    /// See [`Tier::Instant`].
    pub instant: u64,
    /// See [`Tier::Cached`].
    pub cached: u64,
    /// See [`Tier::Incremental`].
    pub incremental: u64,
    /// See [`Tier::Full`].
    pub full: u64,
    /// Commands that failed.
    pub failed: u64,
    /// Not run, since something they need failed, or the build was cancelled.
    pub skipped: u64,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// Its outputs are in place.
    Success,
    /// Its command failed, timed out, or broke a rule.
    Failed,
    /// Something it needs failed.
    Skipped,
    /// The build was cancelled.
    Cancelled,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// Every requested task succeeded.
    Success,
    /// A command failed.
    Failed,
    /// A user or a client stopped it.
    Cancelled,
    /// The environment or BuildNet itself failed.
    Error,
}

/// What a command used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskUsage {
    /// User plus system CPU time of the whole process tree, in microseconds.
    pub cpu_us: u64,
    /// Highest resident memory of the process tree, in bytes.
    pub peak_memory: u64,
}

/// Importance of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For information.
    Info,
    /// Something is not as it should be, and the build goes on.
    Warning,
    /// Something failed.
    Error,
}

/// Which part of an action's key an input belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputPart {
    /// A file of the package or the workspace.
    File,
    /// A declared environment variable.
    Variable,
    /// The command, its hooks or its settings.
    Command,
    /// A program of the host that the command runs with.
    Toolchain,
    /// The outputs of a task that this one depends on.
    Dependency,
    /// A declared output that is missing or was changed.
    Output,
}

/// One input whose digest differs from the last run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputChange {
    /// What kind of input.
    pub part: InputPart,
    /// Its name: a path, a variable, a task.
    pub name: String,
    /// What it was: a short digest or a value; none if it was not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
    /// What it is; none if it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
}

/// Why a task was not instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It never ran in this workspace.
    FirstRun,
    /// `--force`.
    Forced,
    /// It failed when it ran last.
    FailedBefore,
    /// Inputs differ; at most 50 are named.
    Changed {
        /// The inputs.
        changes: Vec<InputChange>,
        /// How many more there are.
        more: usize,
    },
}

/// What is to be told of a task that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSummary {
    /// The task.
    pub task: TaskName,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// How much work it was; none if it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<Tier>,
    /// Wall time in this build, in microseconds: from start to outputs in place, without the wait for a free core.
    pub duration_us: u64,
    /// Wall time of the command when it really ran, now or in the run that filled the cache, in microseconds.
    pub execution_us: u64,
    /// The action's digest, as text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Exit code of a command that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// File with the whole log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log_path: Option<String>,
    /// The last lines of the log, at most 8 KiB, for a task that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log_tail: Option<String>,
    /// Why it was not instant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// What the command used; zero when it did not run.
    #[serde(default)]
    pub usage: TaskUsage,
    /// How many times the command was started.
    #[serde(default)]
    pub attempts: u32,
    /// Whether its result came from the remote cache in this build.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub remote: bool,
    /// Tasks it waited for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub dependencies: Vec<TaskName>,
}

impl TaskSummary {
    /// A task that succeeded, of which nothing else is known yet.
    pub fn new(task: TaskName, dependencies: Vec<TaskName>) -> Self {
        Self {
            task,
            outcome: TaskOutcome::Success,
            tier: None,
            duration_us: 0,
            execution_us: 0,
            key: None,
            exit_code: None,
            error: None,
            hint: None,
            log_path: None,
            log_tail: None,
            reason: None,
            usage: TaskUsage::default(),
            attempts: 0,
            remote: false,
            dependencies,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A build began.
    BuildStarted {
        /// The workspace's root directory.
        workspace: String,
        /// What was asked for, as a user would type it.
        command: String,
        /// Number of tasks in the graph of this build.
        tasks: u64,
    },
    /// A task's inputs are ready and differ from the last run, or are not known to be the same: work begins.
    TaskStarted {
        /// The task.
        task: TaskName,
        /// Expected wall time from history, in microseconds.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        expected_us: Option<u64>,
    },
    /// The command's process was started (after the caches were asked).
    TaskExecuting {
        /// The task.
        task: TaskName,
        /// 1 for the first start.
        attempt: u32,
    },
    /// Output of the command as it came, standard output and error together.
    TaskOutput {
        /// The task.
        task: TaskName,
        /// A piece of at most 64 KiB; invalid UTF-8 replaced.
        text: String,
    },
    /// The environment failed under a command; it will be started again.
    TaskRetry {
        /// The task.
        task: TaskName,
        /// The attempt that failed.
        attempt: u32,
        /// Milliseconds until the next one.
        delay_ms: u64,
        /// What failed.
        error: String,
    },
    /// A task ended.
    TaskFinished(Box<TaskSummary>),
    /// Tasks of tier [`Tier::Instant`]: told together, since a build of thousands of unchanged tasks takes milliseconds.
    TasksUnchanged {
        /// The tasks.
        tasks: Vec<TaskName>,
    },
    /// Something to tell that belongs to no task's end.
    Notice {
        /// Importance.
        level: Level,
        /// The text.
        text: String,
        /// What to do.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        hint: Option<String>,
    },
    /// A build ended.
    BuildFinished {
        /// How.
        outcome: BuildOutcome,
        /// Wall time in microseconds.
        duration_us: u64,
        /// Tasks by tier.
        counts: TierCounts,
        /// Execution time that caches and unchanged inputs saved, in microseconds of one core.
        saved_us: u64,
    },
}
