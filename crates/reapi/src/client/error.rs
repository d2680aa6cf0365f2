//! What can go wrong with a remote cache.

use std::path::PathBuf;

use buildnet_digest::{Diagnostic, Digest, ErrorCategory};
use tonic::Code;

/// An error of a remote cache.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// An address that is none.
    #[error("`{text}` is no remote cache (expected `grpc://host:port[/instance]` or `grpcs://…`)")]
    Target {
        /// The text.
        text: String,
    },
    /// A token with characters that no header can hold.
    #[error("the token of the remote cache cannot be sent")]
    Token,
    /// A certificate or key that cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("cannot connect to the remote cache at {authority}")]
    Connect {
        /// `host:port`.
        authority: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// The server offers no cache.
    #[error("{target} is a REAPI server without a cache")]
    NoCache {
        /// The address.
        target: String,
    },
    /// The server refused or failed.
    #[error("cannot {action} {target}: {}", status.message())]
    Call {
        /// What was tried.
        action: &'static str,
        /// The address.
        target: String,
        /// The server's answer.
        status: Box<tonic::Status>,
    },
    /// The server sent other content than its digest says.
    #[error("{target} sent {actual} instead of {expected}")]
    Mismatch {
        /// The address.
        target: String,
        /// What was asked for.
        expected: Box<Digest>,
        /// What came.
        actual: Box<Digest>,
    },
    /// The server's answer makes no sense.
    #[error("the answer of {target} {what}")]
    Answer {
        /// The address.
        target: String,
        /// What is wrong with it.
        what: String,
    },
}

impl Diagnostic for RemoteError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Target { .. } | Self::Token | Self::File { .. } => ErrorCategory::User,
            Self::Call { status, .. } if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) => {
                ErrorCategory::User
            }
            _ => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Target { .. } => "write it as `grpc://cache.example:9876/main`".into(),
            Self::Connect { .. } => "check that the server runs and that no firewall is between".into(),
            Self::Call { status, .. } => match status.code() {
                Code::Unauthenticated => "give a token of the server".into(),
                Code::PermissionDenied => "use a token with the role and the instance that this needs".into(),
                _ => return None,
            },
            Self::Mismatch { .. } => "the server or the way to it damages content; nothing of it was used".into(),
            _ => return None,
        })
    }
}
