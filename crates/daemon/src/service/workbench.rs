//! What the service asks of the rooms below: load a workspace, plan a request, run the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_engine::build::Plan;
use buildnet_event::{BuildId, BuildOutcome, Bus};
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
    /// The variables that the plan's tasks declare, as they are in the environment of whoever asked.
    pub environment: BTreeMap<String, String>,
}

/// Loads workspaces and runs plans. The service decides when and for whom.
pub trait Workbench: Send + Sync + 'static {
    /// The root of the workspace that a directory lies in.
    fn find_root(&self, directory: &Path) -> Result<PathBuf, ErrorReport>;

    /// Plans a request for the workspace at `root`, as its configuration is now.
    fn plan(&self, root: &Path, request: &BuildRequest) -> Result<Arc<Plan>, ErrorReport>;

    /// Runs a job and publishes what happens. Returns when every process of it has ended.
    fn run<'a>(
        &'a self,
        job: Job,
        bus: &'a Bus,
        id: BuildId,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, ErrorReport>>;
}
