//! The rooms below, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_engine::build::Plan;
use buildnet_event::{BuildId, BuildOutcome, Bus};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::request::BuildRequest;
use super::workbench::{Job, Workbench};
use crate::error::ErrorReport;

/// How a workbench is set up.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where blobs and action results are kept.
    pub cache_dir: PathBuf,
    /// Follow the file system.
    pub watch: bool,
}

/// Builds with this machine's means.
#[derive(Debug)]
pub struct LocalWorkbench {
    options: LocalOptions,
}

impl LocalWorkbench {
    /// Opens it.
    pub fn open(options: LocalOptions) -> Result<Self, ErrorReport> {
        Ok(Self { options })
    }
}

impl Workbench for LocalWorkbench {
    fn find_root(&self, directory: &Path) -> Result<PathBuf, ErrorReport> {
        Ok(directory.to_owned())
    }

    fn plan(&self, _root: &Path, _request: &BuildRequest) -> Result<Arc<Plan>, ErrorReport> {
        Err(ErrorReport::internal(format!("cannot plan yet; watch: {}", self.options.watch)))
    }

    fn run<'a>(
        &'a self,
        _job: Job,
        _bus: &'a Bus,
        _id: BuildId,
        _cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, ErrorReport>> {
        Box::pin(async { Err(ErrorReport::internal("cannot build yet")) })
    }
}
