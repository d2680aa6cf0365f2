//! One build: what its computations share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buildnet_digest::stat::Root;
use buildnet_digest::{Diagnostic, Digest, DigestFunction, ErrorCategory};
use buildnet_event::{
    BuildId, Bus, EventKind, InputChange, Level, TaskName, TaskOutcome, TaskSummary, Tier, TierCounts,
};
use buildnet_executor::Executor;
use parking_lot::Mutex;

use super::error::BuildError;
use super::limit::Limit;
use super::remote::RemoteCache;
use super::sources::HashCache;
use super::spec::{ActionSpec, Plan};
use super::table::Table;
use crate::graph::Graph;

/// How to build.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Run the requested tasks though nothing changed and though the cache holds their results.
    pub force: bool,
    /// Go on with what does not need a failed task.
    pub keep_going: bool,
    /// Cores to keep busy; 0 for all of the machine.
    pub jobs: u32,
    /// Bytes of memory for all running commands together, as far as they declare theirs; 0 for no bound.
    pub memory: u64,
    /// Tell what would run, and run nothing.
    pub dry_run: bool,
    /// Record what the commands look for, and propose the inputs that are missing. Runs the requested tasks.
    pub trace_inputs: bool,
    /// The environment that the build was asked from, of which tasks get what they declare.
    pub environment: BTreeMap<String, String>,
    /// Absolute directories in which programs are searched.
    pub search_path: Vec<PathBuf>,
    /// Expected execution times in microseconds, for the order of ready tasks and for estimates.
    pub expected_us: HashMap<TaskName, u64>,
    /// What the build was asked with, as a user would type it.
    pub command: String,
    /// The cache to ask for what the local one has not, and to send results to.
    pub remote: Option<Arc<dyn RemoteCache>>,
}

/// What the computations of one build share.
pub(super) struct Session {
    pub(super) plan: Arc<Plan>,
    pub(super) options: BuildOptions,
    pub(super) executor: Executor,
    pub(super) graph: Graph,
    pub(super) table: Arc<Table>,
    pub(super) hashes: HashCache,
    pub(super) limit: Limit,
    pub(super) logs: PathBuf,
    pub(super) state: PathBuf,
    bus: Bus,
    id: BuildId,
    /// Set when a task failed and the build is not to go on.
    stopped: AtomicBool,
    progress: Mutex<Progress>,
    /// One lock for each state directory: commands that share one take turns.
    state_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) finished: HashMap<TaskName, Option<Tier>>,
    /// Tasks whose sources were looked at again and whose digests may differ.
    pub(super) rescanned: HashSet<TaskName>,
    pub(super) counts: TierCounts,
    pub(super) saved_us: u64,
    pub(super) environment_failed: bool,
    /// Outputs that tasks needed and that are nowhere any more.
    pub(super) lost: Vec<String>,
}

impl Session {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a build, each of another kind, put together in one place"
    )]
    pub(super) fn new(
        plan: Arc<Plan>,
        options: BuildOptions,
        executor: Executor,
        graph: Graph,
        table: Arc<Table>,
        state: &Path,
        bus: Bus,
        id: BuildId,
    ) -> Self {
        let limit = Limit::new(&plan, &options);
        Self {
            plan,
            options,
            executor,
            graph,
            table,
            hashes: HashCache::default(),
            limit,
            logs: state.join("logs"),
            state: state.join("state"),
            bus,
            id,
            stopped: AtomicBool::new(false),
            progress: Mutex::default(),
            state_locks: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Root {
        self.executor.workspace()
    }

    pub(super) fn spec(&self, task: &TaskName) -> Result<&ActionSpec, BuildError> {
        self.plan.tasks.get(task).ok_or_else(|| BuildError::UnknownTask { task: task.clone() })
    }

    pub(super) fn publish(&self, kind: EventKind) {
        self.bus.publish(Some(self.id), kind);
    }

    pub(super) fn notice(&self, level: Level, text: String, hint: Option<String>) {
        self.publish(EventKind::Notice { level, text, hint });
    }

    /// Whether the task was asked for with `--force` or the like.
    pub(super) fn forced(&self, task: &TaskName) -> bool {
        (self.options.force || self.options.trace_inputs) && self.plan.requested.contains(task)
    }

    /// Whether nothing new is to be started.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Digest of a declared variable's value; none if it is not set.
    pub(super) fn variable_digest(&self, name: &str) -> Option<Digest> {
        self.options.environment.get(name).map(|value| DigestFunction::Blake3.digest(value.as_bytes()))
    }

    pub(super) fn state_lock(&self, path: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.state_locks.lock().entry(path.to_owned()).or_default())
    }

    /// Remembers which inputs of a task differ, until a run of it succeeds.
    pub(super) fn note_changes(&self, task: &TaskName, changes: Vec<InputChange>) {
        self.progress.lock().rescanned.insert(task.clone());
        if !changes.is_empty() {
            self.table.note_changes(task, changes);
        }
    }

    /// Tells of a task's end and counts it.
    pub(super) fn finish(&self, summary: TaskSummary, saved_us: u64) {
        let mut progress = self.progress.lock();
        let counts = &mut progress.counts;
        match (summary.outcome, summary.tier) {
            (TaskOutcome::Success, Some(tier)) => match tier {
                Tier::Instant => counts.instant += 1,
                Tier::Cached => counts.cached += 1,
                Tier::Incremental => counts.incremental += 1,
                Tier::Full => counts.full += 1,
            },
            (TaskOutcome::Success, None) => {}
            (TaskOutcome::Failed, _) => counts.failed += 1,
            (TaskOutcome::Skipped | TaskOutcome::Cancelled, _) => counts.skipped += 1,
        }
        progress.saved_us += saved_us;
        progress.finished.insert(summary.task.clone(), summary.tier);
        drop(progress);
        if summary.outcome == TaskOutcome::Failed && !self.options.keep_going {
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.publish(EventKind::TaskFinished(Box::new(summary)));
    }

    /// Remembers that something else than a command failed.
    pub(super) fn environment_failed(&self, error: &BuildError) {
        if error.category() == ErrorCategory::User {
            return;
        }
        self.progress.lock().environment_failed = true;
    }

    /// Puts an output of a dependency into the store again, from the workspace if it lies there untouched. Otherwise remembers
    /// that it is lost. Returns whether it is there now.
    pub(super) fn heal(&self, path: &str, digest: &Digest) -> Result<bool, BuildError> {
        let owner = self.plan.tasks.keys().find_map(|task| {
            self.table
                .with(task, |state| state?.placed.as_ref().filter(|placed| placed.outputs.get(path).is_some()).cloned())
        });
        if owner.is_some_and(|placed| placed.changed(self.root()).is_none())
            && self.executor.store().put_file(digest.function(), &self.root().join(path))? == *digest
        {
            return Ok(true);
        }
        self.progress.lock().lost.push(path.to_owned());
        Ok(false)
    }

    pub(super) fn progress(&self) -> parking_lot::MutexGuard<'_, Progress> {
        self.progress.lock()
    }
}
