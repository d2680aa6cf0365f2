//! One workspace, kept open.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_cas::Store;
use buildnet_engine::build::{BuildOptions, Builder, Changes, Plan};
use buildnet_event::{BuildId, BuildOutcome, Bus, EventKind, Level, TaskName};
use buildnet_history::{HistoryStore, SqliteHistory};
use buildnet_workspace::{Request, SettingsOverride, Workspace};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::followed::{Doubtful, Followed};
use super::loaded::{Loaded, Origin, flags_of};
use super::recording::record;
use super::remote;
use super::written::Written;
use crate::error::ErrorReport;
use crate::service::{BuildRequest, Job};

/// Directory of a workspace's state, in its root.
pub(super) const STATE_DIR: &str = ".buildnet";

/// Where a workspace's history is kept.
pub fn history_path(root: &Path) -> PathBuf {
    root.join(STATE_DIR).join("history.db")
}

/// Opens a workspace's history.
pub fn open_history(root: &Path) -> Result<SqliteHistory, ErrorReport> {
    SqliteHistory::open(&history_path(root)).map_err(|error| ErrorReport::of(&error))
}

/// Opens a workspace's history for those who only read it, also where it cannot be written.
pub fn read_history(root: &Path) -> Result<SqliteHistory, ErrorReport> {
    SqliteHistory::open_to_read(&history_path(root)).map_err(|error| ErrorReport::of(&error))
}

/// One workspace: its configuration, its engine, its history, its watches.
pub(super) struct Opened {
    root: PathBuf,
    watch: bool,
    loaded: Mutex<Option<Loaded>>,
    /// The engine, with the directory of the store that it builds with.
    builder: Mutex<Option<(PathBuf, Arc<Builder>)>>,
    history: Mutex<Option<Arc<SqliteHistory>>>,
    /// Expected execution times in microseconds. Dropped when a build ran commands.
    expected: Mutex<Option<Arc<HashMap<TaskName, u64>>>>,
    /// Held while watches are set, so that the next build waits for them.
    followed: Arc<tokio::sync::Mutex<Followed>>,
    watched: Arc<std::sync::atomic::AtomicUsize>,
}

impl Opened {
    pub(super) fn new(root: PathBuf, watch: bool) -> Self {
        Self {
            root,
            watch,
            loaded: Mutex::default(),
            builder: Mutex::default(),
            history: Mutex::default(),
            expected: Mutex::default(),
            followed: Arc::default(),
            watched: Arc::default(),
        }
    }

    /// The workspace as its files are now.
    pub(super) fn workspace(
        &self,
        environment: &BTreeMap<String, String>,
        flags: SettingsOverride,
    ) -> Result<Arc<Workspace>, ErrorReport> {
        self.with_loaded(environment, flags, |loaded| Ok(Arc::clone(&loaded.workspace)))
    }

    /// The workspace as it was loaded last, which planning does.
    pub(super) fn planned(&self) -> Option<Arc<Workspace>> {
        self.loaded.lock().as_ref().map(|loaded| Arc::clone(&loaded.workspace))
    }

    /// The plan of a request, as the workspace's files are now.
    pub(super) fn plan(
        &self,
        request: &BuildRequest,
        environment: &BTreeMap<String, String>,
    ) -> Result<Arc<Plan>, ErrorReport> {
        let wanted = Request { task: request.task.clone(), packages: request.packages.clone() };
        self.with_loaded(environment, flags_of(request), |loaded| loaded.plan(wanted))
    }

    fn with_loaded<T>(
        &self,
        environment: &BTreeMap<String, String>,
        flags: SettingsOverride,
        then: impl FnOnce(&mut Loaded) -> Result<T, ErrorReport>,
    ) -> Result<T, ErrorReport> {
        let origin = Origin::new(environment, flags);
        let mut slot = self.loaded.lock();
        // Where a build has just begun or ended the watches are in use: then the files are looked at.
        let doubtful = self.followed.try_lock().map_or(Doubtful::All, |mut followed| followed.doubtful_configuration());
        let loaded = match slot.take() {
            Some(loaded) if loaded.is_current(&origin, |file| doubtful.contains(file)) => slot.insert(loaded),
            _ => slot.insert(Loaded::load(&self.root, origin)?),
        };
        then(loaded)
    }

    /// The history, opened once.
    pub(super) fn history(&self) -> Result<Arc<dyn HistoryStore>, ErrorReport> {
        let mut slot = self.history.lock();
        let history = match slot.take() {
            Some(history) => history,
            None => Arc::new(open_history(&self.root)?),
        };
        Ok(slot.insert(history).clone())
    }

    /// How many directories are watched.
    pub(super) fn watched(&self) -> usize {
        self.watched.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Runs a job.
    #[expect(clippy::too_many_arguments, reason = "a build's parts, each of another kind")]
    pub(super) async fn build(
        self: &Arc<Self>,
        job: Job,
        workspace: &Workspace,
        store: Store,
        bus: &Bus,
        id: BuildId,
        cancel: CancellationToken,
        background: &TaskTracker,
    ) -> Result<BuildOutcome, ErrorReport> {
        let notice = |level, text, hint| {
            bus.publish(Some(id), EventKind::Notice { level, text, hint });
        };
        for warning in &workspace.warnings {
            notice(Level::Warning, warning.clone(), None);
        }
        let builder = {
            let (opened, directory) = (Arc::clone(self), workspace.settings.cache_dir.clone().unwrap_or_default());
            let opening = tokio::task::spawn_blocking(move || opened.builder(directory, store));
            let (builder, told) =
                opening.await.map_err(|panic| ErrorReport::internal("opening broke off").because(&panic))??;
            if let Some(text) = told {
                notice(Level::Warning, text, None);
            }
            builder
        };
        let ended = CancellationToken::new();
        if !job.request.dry_run {
            match self.history() {
                Ok(history) => {
                    let (events, bus, ended) = (bus.subscribe(), bus.clone(), ended.clone());
                    background.spawn_blocking(move || record(history, events, &bus, id, &ended));
                }
                Err(report) => notice(Level::Warning, format!("no history: {}", report.message), report.hint),
            }
        }
        let _ended = ended.drop_guard();
        let mut followed = self.followed.lock().await;
        let changes = if self.watch { followed.changes(&self.root) } else { Changes::Unknown };
        if let Some((text, hint)) = followed.take_trouble() {
            notice(Level::Warning, format!("not following the file system: {text}"), hint);
        }
        drop(followed);
        let untouched = matches!(&changes, Changes::Directories(directories) if directories.is_empty());
        let mut options = self.options(&job, workspace);
        options.remote = remote::open(&workspace.settings, &job.environment, bus, id)?;
        let plan = Arc::clone(&job.plan);
        let report =
            builder.build(plan, options, changes, bus, id, cancel).await.map_err(|error| ErrorReport::of(&error))?;
        let ran = report.counts.full + report.counts.incremental > 0;
        if ran {
            *self.expected.lock() = None;
        }
        // Tasks without commands only group others and are not counted.
        let counted = job.plan.tasks.values().filter(|spec| !spec.commands.is_empty()).count() as u64;
        let still = untouched && report.counts.instant == counted;
        if self.watch && !still {
            self.follow(builder, workspace, background);
        }
        Ok(report.outcome)
    }

    /// Watches what the last build looked at, after its client has its answer. The next build waits for it.
    fn follow(&self, builder: Arc<Builder>, workspace: &Workspace, background: &TaskTracker) {
        let (root, watched) = (self.root.clone(), Arc::clone(&self.watched));
        let configuration = workspace.config_files.clone();
        let Ok(mut followed) = Arc::clone(&self.followed).try_lock_owned() else { return };
        background.spawn(async move {
            let Some(directories) = builder.directories().await else { return };
            // Adding a watch is a system call for each directory.
            let _ = tokio::task::spawn_blocking(move || {
                followed.follow(&root, &directories, &configuration);
                watched.store(followed.watched(), std::sync::atomic::Ordering::Relaxed);
            })
            .await;
        });
    }

    /// Waits until a file changed that a plan's tasks do not write themselves. Fails where the file system cannot be followed.
    pub(super) async fn changed(&self, plan: &Plan) -> Result<(), ErrorReport> {
        let written = Written::of(&self.root, plan);
        loop {
            let mut followed = self.followed.lock().await;
            if followed.is_dirty(|path| !written.contains(path)) {
                return Ok(());
            }
            let descriptor = followed.descriptor();
            drop(followed);
            let descriptor =
                descriptor.ok_or_else(|| ErrorReport::environment("the file system cannot be followed"))?;
            let waiting = tokio::task::spawn_blocking(move || wait_readable(&descriptor));
            waiting.await.map_err(|panic| ErrorReport::internal("following broke off").because(&panic))?;
        }
    }

    /// Removes the outputs of the workspace's tasks; returns how many there were.
    pub(super) async fn clean(self: &Arc<Self>, directory: PathBuf, store: Store) -> Result<usize, ErrorReport> {
        let opened = Arc::clone(self);
        let opening = tokio::task::spawn_blocking(move || opened.builder(directory, store));
        let (builder, _) =
            opening.await.map_err(|panic| ErrorReport::internal("opening broke off").because(&panic))??;
        builder.clean(None).await.map_err(|error| ErrorReport::of(&error))
    }

    fn builder(&self, directory: PathBuf, store: Store) -> Result<(Arc<Builder>, Option<String>), ErrorReport> {
        let mut slot = self.builder.lock();
        if let Some((there, builder)) = &*slot
            && *there == directory
        {
            return Ok((Arc::clone(builder), None));
        }
        let state = self.root.join(STATE_DIR);
        let (builder, told) = Builder::open(&self.root, &state, store).map_err(|error| ErrorReport::of(&error))?;
        let builder = Arc::new(builder);
        *slot = Some((directory, Arc::clone(&builder)));
        Ok((builder, told))
    }

    fn options(&self, job: &Job, workspace: &Workspace) -> BuildOptions {
        let (request, settings) = (&job.request, &workspace.settings);
        let path = job.environment.get("PATH").map_or("", String::as_str);
        BuildOptions {
            force: request.force,
            keep_going: request.keep_going || settings.keep_going,
            jobs: request.jobs.or(settings.jobs).unwrap_or(0),
            memory: total_memory().unwrap_or(0),
            dry_run: request.dry_run,
            trace_inputs: request.trace_inputs,
            environment: job.environment.clone(),
            search_path: path.split(':').map(PathBuf::from).filter(|entry| entry.is_absolute()).collect(),
            expected_us: (*self.expectations()).clone(),
            command: request.command(),
            remote: None,
        }
    }

    /// What tasks took before. Without a history nothing is expected.
    fn expectations(&self) -> Arc<HashMap<TaskName, u64>> {
        let mut slot = self.expected.lock();
        if let Some(known) = &*slot {
            return Arc::clone(known);
        }
        let known = self.history().ok().and_then(|history| history.expectations().ok()).unwrap_or_default();
        let known = known.into_iter().map(|(task, expected)| (task, expected.execution_us)).collect();
        Arc::clone(slot.insert(Arc::new(known)))
    }
}

/// Waits until a descriptor is readable, but not for long: a thread that waits cannot be told to stop.
fn wait_readable(descriptor: &OwnedFd) {
    let patience = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    // Interrupted or not: the caller looks again.
    let _ = poll(&mut polled, Some(&patience));
}

/// The machine's memory in bytes, from `/proc/meminfo`.
fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
