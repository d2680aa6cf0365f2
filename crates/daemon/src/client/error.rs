//! What can go wrong between client and daemon.

use std::io;
use std::net::SocketAddr;

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::error::{Category, ErrorReport};

/// A request that was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection broke.
    #[error("lost the daemon at {address}")]
    Connection {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What answers is no daemon of ours.
    #[error("what listens on {address} is not a BuildNet daemon: {what}")]
    Stranger {
        /// Where.
        address: SocketAddr,
        /// How it showed.
        what: String,
    },
    /// The daemon is another version.
    #[error("the daemon at {address} is version {theirs}, this program is version {}", crate::VERSION)]
    Version {
        /// Where.
        address: SocketAddr,
        /// The daemon's version.
        theirs: String,
    },
    /// The daemon belongs to someone else.
    #[error("the daemon at {address} belongs to user {user}")]
    OtherUser {
        /// Where.
        address: SocketAddr,
        /// Its user's number.
        user: u32,
    },
    /// The daemon cannot serve this request, though another process could.
    #[error("{}", .0.message)]
    Unsuited(ErrorReport),
    /// The daemon says why it does not do it.
    #[error("{}", .0.message)]
    Refused(ErrorReport),
}

impl Diagnostic for ClientError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Connection { .. } | Self::Stranger { .. } | Self::Version { .. } | Self::OtherUser { .. } => {
                ErrorCategory::Environment
            }
            Self::Unsuited(report) | Self::Refused(report) => match report.category {
                Category::User => ErrorCategory::User,
                Category::Environment => ErrorCategory::Environment,
                Category::Internal => ErrorCategory::Internal,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Connection { .. } => Some(
                "Its log may say why; `buildnet start --detach` starts it again, --no-daemon does without it."
                    .to_owned(),
            ),
            Self::Stranger { .. } | Self::OtherUser { .. } => {
                Some("Choose another address with --daemon-address, or use --no-daemon.".to_owned())
            }
            Self::Version { .. } => Some("Run `buildnet stop`, then `buildnet start --detach`.".to_owned()),
            Self::Unsuited(report) | Self::Refused(report) => report.hint.clone(),
        }
    }
}

impl ClientError {
    /// The error as a user is shown it.
    pub fn report(&self) -> ErrorReport {
        match self {
            Self::Unsuited(report) | Self::Refused(report) => report.clone(),
            error => ErrorReport::of(error),
        }
    }
}
