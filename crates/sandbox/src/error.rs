//! Why a command could not be run.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::probe::Feature;

/// Why a command could not be started or watched. A command that ran and failed is no error: see [`Status`](crate::Status).
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel, or this platform, lacks or refuses something the mode needs.
    #[error("the sandbox needs {feature}, which this system refuses: {reason}")]
    Unsupported {
        /// What is missing.
        feature: Feature,
        /// What the kernel said.
        reason: String,
    },
    /// The program is neither at the given path nor in the `PATH` of the command.
    #[error("program `{}` not found in the sandbox", program.display())]
    ProgramNotFound {
        /// `argv[0]`.
        program: OsString,
    },
    /// The program is there but cannot be executed.
    #[error("cannot execute `{}`: {cause}", program.display())]
    ProgramNotExecutable {
        /// `argv[0]`.
        program: OsString,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter the working directory `{}`: {cause}", path.display())]
    WorkingDirectory {
        /// As the command would see it.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A mount failed.
    #[error("cannot mount `{}` at `{}`: {cause}", source_path.display(), target.display())]
    Mount {
        /// Path on the host.
        source_path: PathBuf,
        /// Path as the command would see it.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Another step of the preparation failed.
    #[error("cannot {step}: {cause}")]
    Setup {
        /// What was being done, in the imperative.
        step: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The request makes no sense.
    #[error("invalid sandbox request: {reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
}

impl SandboxError {
    /// Names the step that failed with `cause`.
    pub(crate) fn setup(step: &'static str, cause: impl Into<io::Error>) -> Self {
        SandboxError::Setup { step, cause: cause.into() }
    }
}

impl Diagnostic for SandboxError {
    fn category(&self) -> ErrorCategory {
        match self {
            SandboxError::Unsupported { .. } | SandboxError::Mount { .. } | SandboxError::Setup { .. } => {
                ErrorCategory::Environment
            }
            SandboxError::ProgramNotFound { .. }
            | SandboxError::ProgramNotExecutable { .. }
            | SandboxError::WorkingDirectory { .. } => ErrorCategory::User,
            SandboxError::InvalidRequest { .. } => ErrorCategory::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SandboxError::Unsupported { feature, .. } => Some(format!(
                "{} `buildnet doctor` shows what this system supports; `sandbox: off` runs without isolation.",
                feature.remedy()
            )),
            SandboxError::ProgramNotFound { .. } => Some(
                "Install the program, or declare where it is: the sandbox shows only the host's toolchain directories, \
                 the declared inputs and the `PATH` of the task."
                    .to_owned(),
            ),
            SandboxError::ProgramNotExecutable { .. } => Some(
                "Check its mode bits, the interpreter in its first line, and that it was built for this machine."
                    .to_owned(),
            ),
            SandboxError::WorkingDirectory { .. } => {
                Some("The directory must be among the inputs of the task.".to_owned())
            }
            SandboxError::Mount { .. } => {
                Some("Check that the path exists and that its file system supports the mount.".to_owned())
            }
            SandboxError::Setup { .. } | SandboxError::InvalidRequest { .. } => None,
        }
    }
}
