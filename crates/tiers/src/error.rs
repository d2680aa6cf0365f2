//! What can go wrong on the far side.

use buildnet_cas::CasError;
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_reapi::RemoteError;
use tonic::Code;

/// What kind of failure it is, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answers, or not in time, or not now: another try may succeed.
    Unreachable,
    /// The far side does not allow it, and will not allow it the next time.
    Denied,
    /// What came is not what was asked for.
    Damaged,
    /// The far side does not take this one thing.
    Refused,
    /// This side failed: its disk, for example.
    Local,
}

/// A failure of a tier.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// What kind.
    pub failure: Failure,
    /// What happened, naming the far side.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl BackendError {
    /// A failure without advice.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { failure, message: message.into(), hint: None }
    }

    /// With advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The far side took too long.
    pub(crate) fn timeout(name: &str, seconds: u64) -> Self {
        Self::new(Failure::Unreachable, format!("{name} did not answer within {seconds} s"))
            .with_hint("check the network and the load of the server")
    }
}

impl Diagnostic for BackendError {
    fn category(&self) -> ErrorCategory {
        match self.failure {
            Failure::Denied => ErrorCategory::User,
            _ => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl From<CasError> for BackendError {
    fn from(error: CasError) -> Self {
        let failure = if matches!(error, CasError::Mismatch { .. }) { Failure::Damaged } else { Failure::Local };
        Self { failure, message: error.to_string(), hint: error.hint() }
    }
}

impl From<RemoteError> for BackendError {
    fn from(error: RemoteError) -> Self {
        let failure = match &error {
            RemoteError::Target { .. }
            | RemoteError::Token
            | RemoteError::File { .. }
            | RemoteError::NoCache { .. } => Failure::Denied,
            RemoteError::Connect { .. } => Failure::Unreachable,
            RemoteError::Mismatch { .. } | RemoteError::Answer { .. } => Failure::Damaged,
            RemoteError::Call { status, .. } => match status.code() {
                Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => Failure::Denied,
                Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Failure::Refused,
                _ => Failure::Unreachable,
            },
        };
        let hint = error.hint();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {}", innermost(cause)));
        Self { failure, message: format!("{error}{}", cause.unwrap_or_default()), hint }
    }
}

/// The last of a chain of causes, which is the one that says something.
fn innermost<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
