//! Builds with this machine's means: workspaces from its files, results in its cache, commands as its processes.

mod followed;
mod loaded;
mod opened;
mod recording;
mod remote;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_cas::{Store, StoreOptions};
use buildnet_engine::build::Plan;
use buildnet_event::{BuildId, BuildOutcome, Bus};
use buildnet_history::HistoryStore;
use buildnet_workspace::{Settings, SettingsOverride, Workspace, find_root, load_settings};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::opened::Opened;
use super::request::BuildRequest;
use super::workbench::{Job, Workbench};
use crate::error::ErrorReport;

pub use self::loaded::overrides;
pub use self::opened::{history_path, open_history, read_history};
pub use self::remote::tls_options;

/// How a workbench is set up.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where blobs and action results are kept, unless a workspace or a request says otherwise.
    pub cache_dir: PathBuf,
    /// Keep workspaces in memory and follow the file system, for a process that lives long.
    pub watch: bool,
    /// The environment of requests that bring none.
    pub environment: BTreeMap<String, String>,
}

/// Loads workspaces and runs plans in this process.
pub struct LocalWorkbench {
    options: LocalOptions,
    workspaces: Mutex<HashMap<PathBuf, Arc<Opened>>>,
    /// Stores by directory: workspaces that name the same one share it.
    stores: Mutex<HashMap<PathBuf, Store>>,
    /// What goes on after a build has been answered.
    background: TaskTracker,
}

impl LocalWorkbench {
    /// A workbench without any workspace yet.
    pub fn new(options: LocalOptions) -> Self {
        Self { options, workspaces: Mutex::default(), stores: Mutex::default(), background: TaskTracker::new() }
    }

    fn opened(&self, root: &Path) -> Arc<Opened> {
        let mut workspaces = self.workspaces.lock();
        Arc::clone(
            workspaces
                .entry(root.to_owned())
                .or_insert_with(|| Arc::new(Opened::new(root.to_owned(), self.options.watch))),
        )
    }

    /// The store in a directory, opened once.
    fn store_in(&self, directory: &Path, max_bytes: u64) -> Result<Store, ErrorReport> {
        let mut stores = self.stores.lock();
        if let Some(store) = stores.get(directory) {
            return Ok(store.clone());
        }
        let store = open_store(directory, max_bytes)?;
        stores.insert(directory.to_owned(), store.clone());
        Ok(store)
    }

    fn environment<'a>(&'a self, request: &'a BuildRequest) -> &'a BTreeMap<String, String> {
        if request.environment.is_empty() { &self.options.environment } else { &request.environment }
    }

    fn cache_dir(&self, settings: &Settings) -> PathBuf {
        settings.cache_dir.clone().unwrap_or_else(|| self.options.cache_dir.clone())
    }
}

/// Opens the cache in a directory.
pub fn open_store(directory: &Path, max_bytes: u64) -> Result<Store, ErrorReport> {
    let options = StoreOptions { max_bytes, ..StoreOptions::default() };
    Store::open(directory, options).map_err(|error| ErrorReport::of(&error))
}

impl Workbench for LocalWorkbench {
    fn find_root(&self, directory: &Path) -> Result<PathBuf, ErrorReport> {
        find_root(directory).map_err(|error| ErrorReport::of(&error))
    }

    fn plan(&self, root: &Path, request: &BuildRequest) -> Result<Arc<Plan>, ErrorReport> {
        self.opened(root).plan(request, self.environment(request))
    }

    fn environment_of(&self, request: &BuildRequest) -> BTreeMap<String, String> {
        self.environment(request).clone()
    }

    fn run<'a>(
        &'a self,
        job: Job,
        bus: &'a Bus,
        id: BuildId,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, ErrorReport>> {
        Box::pin(async move {
            let opened = self.opened(&job.plan.root);
            let workspace = match opened.planned() {
                Some(workspace) => workspace,
                None => opened.workspace(self.environment(&job.request), loaded::flags_of(&job.request))?,
            };
            let store = self.store_in(&self.cache_dir(&workspace.settings), workspace.settings.cache_max_size)?;
            opened.build(job, &workspace, store, bus, id, cancel, &self.background).await
        })
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.background.close();
            self.background.wait().await;
        })
    }

    fn workspace(&self, root: &Path) -> Result<Arc<Workspace>, ErrorReport> {
        self.opened(root).workspace(&self.options.environment, SettingsOverride::default())
    }

    fn store(&self, root: Option<&Path>) -> Result<Store, ErrorReport> {
        let settings = match root {
            // Where the cache is does not depend on packages: there need be none, and they need not be right.
            Some(root) => {
                let (overrides, user_config) = overrides(&self.options.environment, None);
                let settings = load_settings(Some(root), user_config.as_deref(), &overrides);
                settings.map_err(|errors| ErrorReport::of(&errors))?
            }
            None => Settings::default(),
        };
        self.store_in(&self.cache_dir(&settings), settings.cache_max_size)
    }

    fn default_cache_dir(&self) -> &Path {
        &self.options.cache_dir
    }

    fn history(&self, root: &Path) -> Result<Arc<dyn HistoryStore>, ErrorReport> {
        // Asked by those who read; builds tell why they are not kept.
        match self.opened(root).history() {
            Err(_) if history_path(root).exists() => Ok(Arc::new(read_history(root)?)),
            history => history,
        }
    }

    fn changed<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<(), ErrorReport>> {
        Box::pin(async move { self.opened(&plan.root).changed(plan).await })
    }

    fn clean<'a>(&'a self, root: &'a Path) -> BoxFuture<'a, Result<usize, ErrorReport>> {
        Box::pin(async move {
            let workspace = self.workspace(root)?;
            let store = self.store(Some(root))?;
            self.opened(root).clean(workspace.settings.cache_dir.clone().unwrap_or_default(), store).await
        })
    }

    fn watched_directories(&self) -> usize {
        self.workspaces.lock().values().map(|opened| opened.watched()).sum()
    }
}
