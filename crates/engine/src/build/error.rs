//! Why a build or one of its tasks has no result.

use std::io;
use std::path::PathBuf;

use buildnet_cas::CasError;
use buildnet_digest::tree::TreeError;
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_event::TaskName;
use buildnet_executor::ExecutorError;

use super::sources::SourceError;

/// Why a build or one of its tasks has no result.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The plan holds no such task.
    #[error("there is no task `{task}`")]
    UnknownTask {
        /// Its name.
        task: TaskName,
    },
    /// The input files cannot be had.
    #[error("{error}")]
    Sources {
        /// The task whose inputs they are.
        task: TaskName,
        /// What is wrong.
        error: SourceError,
    },
    /// A program or lock file of the host cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    HostFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A program that a task declares is not on PATH.
    #[error("program `{program}` is not found")]
    MissingTool {
        /// Its name.
        program: String,
        /// The directories that were searched.
        searched: String,
    },
    /// Two inputs of a task have one path.
    #[error("inputs collide: {error}")]
    Inputs {
        /// What collides.
        error: TreeError,
    },
    /// The command ran and failed; everything that is to be told of it was told by an event.
    #[error("{message}")]
    Failed {
        /// How it ended.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something the task needs failed.
    #[error("skipped, since `{because}` failed")]
    Skipped {
        /// The task that failed first.
        because: TaskName,
    },
    /// Not started, since another task failed and the build was not to go on.
    #[error("not started, since another task failed")]
    Stopped,
    /// An output of a dependency is neither in the cache nor in the workspace any more: what made it runs again, then this task.
    #[error("an output that it needs is lost; the task that made it runs again")]
    Rewind,
    /// In a dry run: the command would run.
    #[error("would run")]
    WouldRun,
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A worker thread ended early; a defect, or the process is shutting down.
    #[error("a worker thread ended early")]
    Interrupted,
    /// The workspace's state directory cannot be used.
    #[error("cannot {what} `{}`: {error}", path.display())]
    State {
        /// What was tried: a verb.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The executor failed.
    #[error(transparent)]
    Executor(#[from] Box<ExecutorError>),
    /// The store failed.
    #[error(transparent)]
    Cas(#[from] Box<CasError>),
}

impl From<ExecutorError> for BuildError {
    fn from(error: ExecutorError) -> Self {
        Self::Executor(Box::new(error))
    }
}

impl From<CasError> for BuildError {
    fn from(error: CasError) -> Self {
        Self::Cas(Box::new(error))
    }
}

impl Diagnostic for BuildError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Sources { error, .. } => error.category(),
            Self::HostFile { .. } | Self::MissingTool { .. } | Self::State { .. } => ErrorCategory::Environment,
            Self::Interrupted => ErrorCategory::Internal,
            Self::Executor(error) => error.category(),
            Self::Cas(error) => error.category(),
            _ => ErrorCategory::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTask { .. } => Some("`buildnet graph` lists the tasks".to_owned()),
            Self::Sources { error, .. } => error.hint(),
            Self::MissingTool { program, searched } => {
                Some(format!("install `{program}`, or take it out of the task's toolchains; searched were {searched}"))
            }
            Self::Inputs { .. } => Some(
                "two dependencies make it, or it is a source and an output: change `outputs` or `inputs`".to_owned(),
            ),
            Self::Failed { hint, .. } => hint.clone(),
            Self::State { .. } => Some("check its permissions and the free space of the disk".to_owned()),
            Self::Executor(error) => error.hint(),
            Self::Cas(error) => error.hint(),
            _ => None,
        }
    }
}
