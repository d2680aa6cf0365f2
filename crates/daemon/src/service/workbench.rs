//! What the service asks of the rooms below: load a workspace, plan a request, run the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_cas::Store;
use buildnet_engine::build::Plan;
use buildnet_event::{BuildId, BuildOutcome, Bus};
use buildnet_history::HistoryStore;
use buildnet_workspace::Workspace;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::request::BuildRequest;
use crate::error::ErrorReport;

/// One request, planned.
#[derive(Clone, Debug)]
pub struct Job {
    /// What was asked for.
    pub request: BuildRequest,
    /// The tasks.
    pub plan: Arc<Plan>,
    /// The environment of whoever asked, of which tasks get what they declare.
    pub environment: BTreeMap<String, String>,
}

/// Loads workspaces and runs plans. The service decides when and for whom.
pub trait Workbench: Send + Sync + 'static {
    /// The root of the workspace that a directory lies in.
    fn find_root(&self, directory: &Path) -> Result<PathBuf, ErrorReport>;

    /// Plans a request for the workspace at `root`, as its configuration is now.
    fn plan(&self, root: &Path, request: &BuildRequest) -> Result<Arc<Plan>, ErrorReport>;

    /// The environment that a request is about: its own, or the one of requests that bring none.
    fn environment_of(&self, request: &BuildRequest) -> BTreeMap<String, String> {
        request.environment.clone()
    }

    /// Runs a job and publishes what happens. Returns when every process of it has ended.
    fn run<'a>(
        &'a self,
        job: Job,
        bus: &'a Bus,
        id: BuildId,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, ErrorReport>>;

    /// Waits for what goes on after builds were answered, such as keeping them in the history.
    fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// A workspace as its files are now.
    fn workspace(&self, root: &Path) -> Result<Arc<Workspace>, ErrorReport> {
        Err(ErrorReport::internal(format!("no workspace {}", root.display())))
    }

    /// The cache of a workspace, or of none in particular.
    fn store(&self, _root: Option<&Path>) -> Result<Store, ErrorReport> {
        Err(ErrorReport::internal("no cache"))
    }

    /// The cache directory of workspaces that name none.
    fn default_cache_dir(&self) -> &Path {
        Path::new("")
    }

    /// The history of a workspace.
    fn history(&self, root: &Path) -> Result<Arc<dyn HistoryStore>, ErrorReport> {
        Err(ErrorReport::internal(format!("no history of {}", root.display())))
    }

    /// Waits until a file changed that matters to a plan and that its tasks do not write themselves.
    fn changed<'a>(&'a self, _plan: &'a Plan) -> BoxFuture<'a, Result<(), ErrorReport>> {
        Box::pin(async { Err(ErrorReport::internal("nothing is followed")) })
    }

    /// Removes the outputs of a workspace's tasks; returns how many there were.
    fn clean<'a>(&'a self, root: &'a Path) -> BoxFuture<'a, Result<usize, ErrorReport>> {
        Box::pin(async move { Err(ErrorReport::internal(format!("no workspace {}", root.display()))) })
    }

    /// How many directories are followed.
    fn watched_directories(&self) -> usize {
        0
    }
}
