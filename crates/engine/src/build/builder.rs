//! Builds of one workspace, one after the other, over one incremental graph.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use buildnet_cas::Store;
use buildnet_digest::stat::Root;
use buildnet_digest::{Digest, DigestFunction};
use buildnet_event::{
    BuildId, BuildOutcome, Bus, EventKind, InputChange, InputPart, Level, TaskName, TaskSummary, Tier, TierCounts,
};
use buildnet_executor::Executor;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::BuildError;
use super::keys::{IdentityKey, PlacementKey, SourcesKey, SpecKey, TaskKey, ToolKey, VariableKey};
use super::remote;
use super::session::{BuildOptions, Session};
use super::sources::FileSet;
use super::spec::Plan;
use super::table::{Table, TaskState};
use super::task::micros;
use super::tools;
use crate::graph::{ComputeError, Context, Discarded, Graph, Key, Registry, Request, Services, Transaction};

/// Where Linux keeps a file system in memory that everybody may use.
const MEMORY: &str = "/dev/shm";

/// Most times in one build that lost outputs are made again.
const MAX_REWINDS: usize = 3;

/// Which save the graph belongs to: the table of the tasks carries the same number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct GenerationKey;

impl std::fmt::Display for GenerationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("generation")
    }
}

impl Key for GenerationKey {
    /// The number, and the digest of the plan whose specs the graph holds.
    type Value = (u64, Option<Digest>);
    const KIND: &'static str = "generation";
    const LEAF: bool = true;

    async fn compute(&self, _ctx: &Context) -> Result<Self::Value, ComputeError> {
        Ok((0, None))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

/// What may have changed in the workspace since the last build.
#[derive(Clone, Debug)]
pub enum Changes {
    /// Anything: every input and output is looked at with `lstat`.
    Unknown,
    /// At most what lies directly in these directories, relative to the workspace root: a watcher saw everything else stay.
    Directories(HashSet<PathBuf>),
}

/// How a build went.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// How it ended.
    pub outcome: BuildOutcome,
    /// Tasks by tier.
    pub counts: TierCounts,
    /// Wall time in microseconds.
    pub duration_us: u64,
    /// Wall time until it was known what has to run, in microseconds: up to the evaluation of the graph.
    pub decision_us: u64,
    /// Execution time that was saved, in microseconds.
    pub saved_us: u64,
}

/// Builds of one workspace. Needs a tokio runtime; one build runs at a time.
pub struct Builder {
    root: Arc<Root>,
    state: PathBuf,
    executor: Executor,
    graph: Graph,
    table: Arc<Table>,
    registry: Registry,
    running: tokio::sync::Mutex<Known>,
}

/// What the last build left in memory.
#[derive(Default)]
struct Known {
    plan: Option<Arc<Plan>>,
    /// Whether every input and output of that plan was looked at in this process, so that a watcher's word is enough.
    validated: bool,
    /// Tasks by the directories whose changes concern them.
    index: Option<HashMap<PathBuf, Vec<TaskName>>>,
}

fn registry() -> Registry {
    Registry::new(concat!("build ", env!("CARGO_PKG_VERSION")))
        .with::<GenerationKey>()
        .with::<SpecKey>()
        .with::<SourcesKey>()
        .with::<VariableKey>()
        .with::<ToolKey>()
        .with::<IdentityKey>()
        .with::<PlacementKey>()
        .with::<TaskKey>()
}

impl Builder {
    /// Opens the state of a workspace in `state` (its `.buildnet` directory), which is created if it is not there.
    ///
    /// State that is damaged or of another version is dropped: the next build finds its results in the cache. The second value
    /// says so in words.
    pub fn open(root: &Path, state: &Path, store: Store) -> Result<(Self, Option<String>), BuildError> {
        let failed = |what| move |error| BuildError::State { what, path: state.to_owned(), error };
        std::fs::create_dir_all(state).map_err(failed("create"))?;
        let ignore = state.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n").map_err(failed("write"))?;
        }
        let registry = registry();
        let (graph, discarded) = Graph::load(&state.join("graph"), &registry, Services::new());
        let mut told = match discarded {
            None | Some(Discarded::Missing) => None,
            Some(reason) => Some(format!("the saved state is not used ({reason}); results come from the cache")),
        };
        let generation = graph.peek(&GenerationKey).map_or(0, |(generation, _)| generation);
        let table = Table::load(&state.join("tasks"), generation);
        let (graph, table) = match table {
            Some(table) => (graph, table),
            None if graph.is_empty() => (graph, Table::default()),
            None => {
                told = Some("the saved state is incomplete and not used; results come from the cache".to_owned());
                (Graph::new(Services::new()), Table::default())
            }
        };
        let root = Arc::new(Root::open(root));
        let executor = Executor::new(store, Arc::clone(&root), &state.join("exec"), Some(Path::new(MEMORY)))?;
        let running = tokio::sync::Mutex::default();
        let state = state.to_owned();
        Ok((Self { root, state, executor, graph, table: Arc::new(table), registry, running }, told))
    }

    /// The store that results go to.
    pub fn store(&self) -> &Store {
        self.executor.store()
    }

    /// What is remembered of a task: why it last ran, its outputs.
    pub fn task_state(&self, task: &TaskName) -> Option<TaskState> {
        self.table.get(task)
    }

    /// Where the log of a task's last run lies.
    pub fn log_path(&self, task: &TaskName) -> PathBuf {
        super::log::path_of(&self.state.join("logs"), task)
    }

    /// The execution root's directories whose changes a watcher must tell for [`Changes::Directories`]; relative to the root.
    ///
    /// None before the first build of this process.
    pub async fn directories(&self) -> Option<Vec<PathBuf>> {
        let mut known = self.running.lock().await;
        let plan = known.plan.clone()?;
        Some(self.index(&mut known, &plan).keys().cloned().collect())
    }

    /// Builds the requested tasks of a plan, and publishes what happens.
    ///
    /// Commands that fail are told by events and by the outcome; an error is returned for what keeps the build from running.
    pub async fn build(
        &self,
        plan: Arc<Plan>,
        options: BuildOptions,
        changes: Changes,
        bus: &Bus,
        id: BuildId,
        cancel: CancellationToken,
    ) -> Result<BuildReport, BuildError> {
        let began = Instant::now();
        let mut known = self.running.lock().await;
        // A task without commands only groups others: nobody waits for it.
        let tasks = plan.tasks.values().filter(|spec| !spec.commands.is_empty()).count() as u64;
        let command = options.command.clone();
        let workspace = self.root.path().display().to_string();
        bus.publish(Some(id), EventKind::BuildStarted { workspace, command, tasks });
        let result = self.locked(&mut known, plan, options, changes, bus, id, cancel, began).await;
        let (outcome, counts, saved_us) = match &result {
            Ok(report) => (report.outcome, report.counts, report.saved_us),
            Err(BuildError::Cancelled) => (BuildOutcome::Cancelled, TierCounts::default(), 0),
            Err(_) => (BuildOutcome::Error, TierCounts::default(), 0),
        };
        let duration_us = micros(began);
        bus.publish(Some(id), EventKind::BuildFinished { outcome, duration_us, counts, saved_us });
        result
    }

    #[expect(clippy::too_many_arguments, reason = "the body of `build`, apart so that every end of it is told")]
    async fn locked(
        &self,
        known: &mut Known,
        plan: Arc<Plan>,
        options: BuildOptions,
        changes: Changes,
        bus: &Bus,
        id: BuildId,
        cancel: CancellationToken,
        began: Instant,
    ) -> Result<BuildReport, BuildError> {
        let _lock = self.lock(bus, id).await?;
        let _lease = self.executor.store().lease()?;
        let session = Arc::new(Session::new(
            Arc::clone(&plan),
            options,
            self.executor.clone(),
            self.graph.clone(),
            Arc::clone(&self.table),
            &self.state,
            bus.clone(),
            id,
        ));
        self.revalidate(known, &session, changes);
        let decision_us = micros(began);
        let keys: Vec<TaskKey> = plan.requested.iter().cloned().map(TaskKey).collect();
        if session.options.force || session.options.trace_inputs {
            let mut transaction = self.graph.begin();
            for key in &keys {
                transaction.invalidate(key);
            }
            transaction.commit();
        }
        let request = Request { cancel: cancel.clone(), services: Services::new().with(Arc::clone(&session)) };
        let mut evaluation = self.graph.evaluate(&keys, &request).await;
        for _ in 0..MAX_REWINDS {
            let lost = std::mem::take(&mut session.progress().lost);
            if lost.is_empty() || cancel.is_cancelled() {
                break;
            }
            self.rewind(&plan, &lost);
            evaluation = self.graph.evaluate(&keys, &request).await;
        }
        let failures = evaluation.values.iter().filter_map(|value| value.as_ref().err());
        let mut internal = None;
        for failure in failures {
            if failure.error::<BuildError>().is_none() && !failure.is_cancelled() {
                internal = Some(failure.to_string());
            }
        }
        if let Some(text) = &internal {
            session.notice(Level::Error, text.clone(), None);
        }
        self.tell_unchanged(&session);
        if session.options.dry_run {
            known.validated = false;
        } else if self.graph.unsaved() || self.table.unsaved() {
            // What was built is right all the same; only the next cold start is slower.
            if let Err(error) = self.save() {
                session.notice(Level::Warning, format!("the state cannot be saved: {error}"), None);
            }
        }
        let cancelled = cancel.is_cancelled();
        if let Some(remote) = &session.options.remote {
            remote::settle(remote, &session, &cancel).await;
        }
        let progress = session.progress();
        let counts = progress.counts;
        let outcome = if cancelled {
            BuildOutcome::Cancelled
        } else if internal.is_some() || progress.environment_failed {
            BuildOutcome::Error
        } else if counts.failed > 0 {
            BuildOutcome::Failed
        } else {
            BuildOutcome::Success
        };
        let saved_us = progress.saved_us;
        Ok(BuildReport { outcome, counts, duration_us: micros(began), decision_us, saved_us })
    }

    /// Has the tasks that made lost outputs computed again: the cache cannot answer for them, so they run.
    fn rewind(&self, plan: &Plan, lost: &[String]) {
        let mut transaction = self.graph.begin();
        for key in plan.tasks.keys().cloned().map(TaskKey) {
            let made = self.graph.peek(&key);
            if made.is_some_and(|made| lost.iter().any(|path| made.outputs.get(path).is_some())) {
                transaction.invalidate(&key);
            }
        }
        transaction.commit();
    }

    /// Takes the workspace's lock: another process may build here.
    async fn lock(&self, bus: &Bus, id: BuildId) -> Result<File, BuildError> {
        let path = self.state.join("lock");
        let failed = |error| BuildError::State { what: "lock", path: path.clone(), error };
        let file = File::create(&path).map_err(failed)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        let text = "another build runs in this workspace; waiting for it".to_owned();
        bus.publish(Some(id), EventKind::Notice { level: Level::Info, text, hint: None });
        let waiting =
            tokio::task::spawn_blocking(move || rustix::fs::flock(&file, FlockOperation::LockExclusive).map(|()| file));
        let file = waiting.await.map_err(|_| BuildError::Interrupted)?;
        file.map_err(|error| BuildError::State { what: "lock", path, error: error.into() })
    }

    /// Compares what the graph knows of the outside world with the outside world.
    fn revalidate(&self, known: &mut Known, session: &Session, changes: Changes) {
        let plan = &session.plan;
        let mut transaction = self.graph.begin();
        let same_plan = known.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan) || known.tasks == plan.tasks);
        if !same_plan {
            self.set_specs(plan, &mut transaction);
            known.validated = false;
            known.index = None;
            known.plan = Some(Arc::clone(plan));
        }
        let suspects: Vec<TaskName> = match changes {
            Changes::Directories(directories) if known.validated => {
                let index = self.index(known, plan);
                let concerned: BTreeSet<&TaskName> =
                    directories.iter().filter_map(|directory| index.get(directory)).flatten().collect();
                concerned.into_iter().cloned().collect()
            }
            _ => plan.tasks.keys().cloned().collect(),
        };
        let (stale, moved) = self.look(&suspects);
        for task in stale {
            transaction.invalidate(&SourcesKey(task));
        }
        for (task, path) in moved {
            let change = InputChange { part: InputPart::Output, name: path, before: None, after: None };
            self.table.note_changes(&task, vec![change]);
            transaction.invalidate(&PlacementKey(task));
        }
        self.look_at_host(session, &mut transaction);
        if transaction.commit().invalidated > 0 {
            known.index = None;
        }
        known.validated = true;
    }

    fn set_specs(&self, plan: &Plan, transaction: &mut Transaction<'_>) {
        let digest = postcard::to_stdvec(&plan.tasks).ok().map(|bytes| DigestFunction::Blake3.digest(&bytes));
        let (generation, held) = self.graph.peek(&GenerationKey).unwrap_or_default();
        if digest.is_some() && held == digest {
            return;
        }
        for (name, spec) in &plan.tasks {
            let key = SpecKey(name.clone());
            if let Some(before) = self.graph.peek(&key)
                && *before != *spec
            {
                let what = if before.commands == spec.commands { "settings" } else { "command" };
                let change = InputChange { part: InputPart::Command, name: what.to_owned(), before: None, after: None };
                self.table.note_changes(name, vec![change]);
                if before.inputs != spec.inputs {
                    transaction.invalidate(&SourcesKey(name.clone()));
                }
            }
            transaction.set(&key, Arc::new(spec.clone()));
        }
        transaction.set(&GenerationKey, (generation, digest));
    }

    /// Of the tasks: those whose sources are stat-different, and those whose outputs are.
    fn look(&self, tasks: &[TaskName]) -> (Vec<TaskName>, Vec<(TaskName, String)>) {
        let wanted: HashSet<&TaskName> = tasks.iter().collect();
        let leaves = self.graph.leaves::<SourcesKey>();
        let leaves: Vec<_> = leaves.iter().filter(|leaf| leaf.clean() && wanted.contains(&leaf.key().0)).collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let check_sources = |leaf: &&crate::graph::Leaf<SourcesKey>| {
            let fresh = leaf.value().is_some_and(|set: Arc<FileSet>| set.is_fresh(&self.root));
            (!fresh).then(|| leaf.key().0.clone())
        };
        let check_outputs = |task: &TaskName| {
            let path = self.table.with(task, |state| {
                let placed = state.and_then(|state| state.placed.as_ref())?;
                placed.changed(&self.root).map(str::to_owned)
            })?;
            Some((task.clone(), path))
        };
        // A thread costs more than looking at a few tasks.
        if threads == 1 || tasks.len() < 32 {
            return (
                leaves.iter().copied().filter_map(|leaf| check_sources(&leaf)).collect(),
                tasks.iter().filter_map(check_outputs).collect(),
            );
        }
        std::thread::scope(|scope| {
            let sources: Vec<_> = leaves
                .chunks(leaves.len().div_ceil(threads).max(1))
                .map(|chunk| scope.spawn(move || chunk.iter().filter_map(check_sources).collect::<Vec<_>>()))
                .collect();
            let moved = tasks.iter().filter_map(check_outputs).collect();
            // A panic in a worker is a panic here.
            let stale = sources
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            (stale.collect(), moved)
        })
    }

    /// Programs, lock files and variables: few, so each is looked at.
    fn look_at_host(&self, session: &Session, transaction: &mut Transaction<'_>) {
        let change = |part, name: &str| InputChange { part, name: name.to_owned(), before: None, after: None };
        for leaf in self.graph.leaves::<ToolKey>().into_iter().filter(crate::graph::Leaf::clean) {
            let found = tools::find(&session.options.search_path, &leaf.key().0);
            let same = leaf.value().is_some_and(|known| known.path == found && known.is_fresh());
            if !same {
                self.note_users(session, &change(InputPart::Toolchain, &leaf.key().0), |spec| {
                    spec.toolchains.contains(&leaf.key().0)
                });
                transaction.invalidate(leaf.key());
            }
        }
        for leaf in self.graph.leaves::<IdentityKey>().into_iter().filter(crate::graph::Leaf::clean) {
            if leaf.value().is_none_or(|known| !known.is_fresh()) {
                let path = leaf.key().0.clone();
                self.note_users(session, &change(InputPart::File, &path.display().to_string()), |spec| {
                    spec.host_inputs.iter().any(|input| input.identity.contains(&path))
                });
                transaction.invalidate(leaf.key());
            }
        }
        for leaf in self.graph.leaves::<VariableKey>() {
            let now = session.variable_digest(&leaf.key().0);
            if leaf.value() != Some(now) {
                self.note_users(session, &change(InputPart::Variable, &leaf.key().0), |spec| {
                    spec.environment.contains_key(&leaf.key().0)
                });
                transaction.set(leaf.key(), now);
            }
        }
    }

    fn note_users(&self, session: &Session, change: &InputChange, uses: impl Fn(&super::spec::ActionSpec) -> bool) {
        for (task, _) in session.plan.tasks.iter().filter(|(_, spec)| uses(spec)) {
            self.table.note_changes(task, vec![change.clone()]);
        }
    }

    /// Tells of the tasks that did not have to be computed.
    fn tell_unchanged(&self, session: &Session) {
        let (finished, rescanned) = {
            let progress = session.progress();
            (progress.finished.clone(), progress.rescanned.clone())
        };
        let mut tiers: HashMap<&TaskName, bool> = HashMap::new();
        let mut unchanged = Vec::new();
        let mut saved = 0;
        let nothing_happened = finished.is_empty() && rescanned.is_empty();
        for (name, spec) in &session.plan.tasks {
            // A task that was not reached, since the build was cancelled, is not clean.
            let reached = || self.graph.peek(&TaskKey(name.clone())).is_some();
            if spec.commands.is_empty() || finished.contains_key(name) || !reached() {
                continue;
            }
            let (execution_us, key) =
                self.table.with(name, |state| state.map_or((0, None), |state| (state.execution_us, state.key)));
            if nothing_happened || is_instant(session, name, &finished, &rescanned, &mut tiers) {
                saved += execution_us;
                unchanged.push(name.clone());
                continue;
            }
            let summary = TaskSummary {
                tier: Some(Tier::Cached),
                execution_us,
                key: key.map(|key| key.to_string()),
                ..TaskSummary::new(name.clone(), spec.dependencies.clone())
            };
            session.finish(summary, execution_us);
        }
        let mut progress = session.progress();
        progress.counts.instant += unchanged.len() as u64;
        progress.saved_us += saved;
        drop(progress);
        if !unchanged.is_empty() {
            session.publish(EventKind::TasksUnchanged { tasks: unchanged });
        }
    }

    /// Tasks by the directories whose changes concern them.
    fn index<'k>(&self, known: &'k mut Known, plan: &Plan) -> &'k HashMap<PathBuf, Vec<TaskName>> {
        known.index.get_or_insert_with(|| {
            let mut index: HashMap<PathBuf, Vec<TaskName>> = HashMap::new();
            for leaf in self.graph.leaves::<SourcesKey>() {
                let name = &leaf.key().0;
                if !plan.tasks.contains_key(name) {
                    continue;
                }
                for directory in leaf.value().map(|set| set.directories()).unwrap_or_default() {
                    index.entry(directory).or_default().push(name.clone());
                }
            }
            for name in plan.tasks.keys() {
                self.table.with(name, |state| {
                    let placed = state.and_then(|state| state.placed.as_ref());
                    for output in placed.iter().flat_map(|placed| placed.outputs.entries()) {
                        let parent = Path::new(&output.path).parent().map(Path::to_owned).unwrap_or_default();
                        let tasks = index.entry(parent).or_default();
                        if tasks.last() != Some(name) {
                            tasks.push(name.clone());
                        }
                    }
                });
            }
            index
        })
    }

    /// Writes the state; the two files are told to belong together by a number that both hold.
    fn save(&self) -> Result<(), BuildError> {
        let (generation, plan) = self.graph.peek(&GenerationKey).unwrap_or_default();
        let generation = generation.wrapping_add(1);
        let mut transaction = self.graph.begin();
        transaction.set(&GenerationKey, (generation, plan));
        transaction.commit();
        let failed = |error| BuildError::State { what: "write", path: self.state.clone(), error };
        self.table.save(&self.state.join("tasks"), generation).map_err(failed)?;
        let saved = self.graph.save(&self.state.join("graph"), &self.registry);
        saved.map(|_| ()).map_err(|error| failed(std::io::Error::other(error)))
    }

    /// Removes the outputs of every task from the workspace, and with `state` also all that is remembered.
    ///
    /// The cache keeps the results: the next build restores them.
    pub async fn clean(&self, tasks: Option<&[TaskName]>) -> Result<usize, BuildError> {
        let _running = self.running.lock().await;
        let names = tasks.map_or_else(|| self.table.names(), <[TaskName]>::to_vec);
        let mut removed = 0;
        let mut transaction = self.graph.begin();
        for name in names {
            if let Some(state) = self.table.remove(&name)
                && let Some(placed) = state.placed
            {
                removed += placed.outputs.entries().len();
                buildnet_executor::remove(&self.root, &placed.outputs)?;
            }
            transaction.invalidate(&TaskKey(name));
        }
        transaction.commit();
        self.save()?;
        Ok(removed)
    }
}

/// Whether nothing that a task depends on was looked at again or computed.
fn is_instant<'s>(
    session: &'s Session,
    name: &'s TaskName,
    finished: &HashMap<TaskName, Option<Tier>>,
    rescanned: &HashSet<TaskName>,
    known: &mut HashMap<&'s TaskName, bool>,
) -> bool {
    // Depth first without recursion: chains of dependencies can be long.
    let mut stack = vec![(name, false)];
    while let Some((name, expanded)) = stack.pop() {
        if known.contains_key(name) {
            continue;
        }
        let dependencies = session.plan.tasks.get(name).map_or(&[][..], |spec| &spec.dependencies);
        if finished.contains_key(name) || rescanned.contains(name) {
            known.insert(name, false);
        } else if expanded {
            let instant = dependencies.iter().all(|dependency| known.get(dependency).copied().unwrap_or(true));
            known.insert(name, instant);
        } else {
            stack.push((name, true));
            stack.extend(dependencies.iter().map(|dependency| (dependency, false)));
        }
    }
    known.get(name).copied().unwrap_or(true)
}
