//! What can go wrong around a command. A command that runs and fails is no error here.

use std::io;

use buildnet_cas::CasError;
use buildnet_digest::tree::TreeError;
use buildnet_digest::{Diagnostic, Digest, ErrorCategory};
use buildnet_sandbox::SandboxError;

/// Why an action could not be executed or its outputs not be placed.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A file operation failed.
    #[error("cannot {what} `{path}`: {error}")]
    Io {
        /// What was tried: a verb.
        what: &'static str,
        /// The path.
        path: String,
        /// Why it failed.
        error: io::Error,
    },
    /// An input differs from what was hashed.
    #[error("input `{path}` changed while the task was being prepared or ran")]
    InputChanged {
        /// Relative to the workspace root.
        path: String,
    },
    /// A blob that an action result refers to is not in the store.
    #[error("blob {digest} of `{path}` is not in the cache any more")]
    Lost {
        /// Its digest.
        digest: Digest,
        /// The output it belongs to.
        path: String,
    },
    /// An output that cannot be stored: not UTF-8, a device, an absolute symlink.
    #[error("output `{path}` {problem}")]
    BadOutput {
        /// Relative to the workspace root; what is not UTF-8 is replaced.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something that is no output of BuildNet's lies where an output must go.
    #[error("cannot place output `{path}`: {problem}")]
    InTheWay {
        /// Relative to the workspace root.
        path: String,
        /// What is in the way.
        problem: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Cas(#[from] Box<CasError>),
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A malformed tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl From<CasError> for ExecutorError {
    fn from(error: CasError) -> Self {
        Self::Cas(Box::new(error))
    }
}

impl ExecutorError {
    /// Wraps an I/O error of an operation on a path.
    pub(crate) fn io(what: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { what, path, error }
    }
}

impl Diagnostic for ExecutorError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Io { .. } | Self::Lost { .. } => ErrorCategory::Environment,
            Self::InputChanged { .. } | Self::BadOutput { .. } | Self::InTheWay { .. } => ErrorCategory::User,
            Self::Cas(error) => error.category(),
            Self::Sandbox(error) => error.category(),
            Self::Tree(_) => ErrorCategory::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                Some("free disk space (`buildnet cache gc` shrinks the cache) and build again".to_owned())
            }
            Self::Io { .. } | Self::Tree(_) => None,
            Self::InputChanged { .. } => Some("let the edits finish and build again".to_owned()),
            Self::Lost { .. } => Some("build again: the task runs anew".to_owned()),
            Self::BadOutput { .. } => Some("write another kind of file, or do not declare it as an output".to_owned()),
            Self::InTheWay { .. } => Some("move it away and build again".to_owned()),
            Self::Cas(error) => error.hint(),
            Self::Sandbox(error) => error.hint(),
        }
    }
}
