//! Why two actions are not the same: which part of their messages differs.
//!
//! An action is found again only if its message is the same to the byte (`remote_execution.proto`, message `Action`). Where a client
//! misses, its action differs from the one that was stored, and something in the action, its command or its input tree says in what.

mod compare;
mod difference;
mod fetch;
mod tree;

use buildnet_cas::{CasError, Store};
use buildnet_digest::{Diagnostic, Digest, ErrorCategory};
use serde::Serialize;

pub use self::difference::{Difference, FileFacts, Unknown};
use self::fetch::Messages;
use crate::client::{RemoteCache, RemoteError};

/// Most differences that are told; more are counted as far as they were looked for.
const MAX_DIFFERENCES: usize = 1000;

/// Where messages are read.
#[derive(Clone, Debug)]
pub enum Source {
    /// A store of this machine.
    Store(Store),
    /// A server.
    Remote(RemoteCache),
}

/// One of the two actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its digest.
    pub digest: Digest,
    /// Whether the instance has a result of it.
    pub cached: bool,
}

/// How two actions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The one that was asked about.
    pub action: Side,
    /// The one that it is compared with.
    pub other: Side,
    /// What differs: in the action, in its command, in its inputs by path. Empty when the two are the same.
    pub differences: Vec<Difference>,
    /// Whether there may be more differences than those.
    pub truncated: bool,
    /// Parts of the input trees that are not in the cache, so that nothing can be said of them.
    pub unknown: Vec<Unknown>,
}

/// Why two actions cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// A text that names no action.
    #[error("`{text}` is no action digest")]
    Digest {
        /// The text, cut to 160 characters.
        text: String,
    },
    /// A message that the cache has not.
    #[error("{what} {digest} is not in the cache")]
    Missing {
        /// `action`, `command`.
        what: &'static str,
        /// Its digest, as far as it is known.
        digest: String,
    },
    /// A server that knows blobs by their hash alone, or several blobs of one hash.
    #[error("the hash {hash} does not say how large the action is")]
    Ambiguous {
        /// The hash.
        hash: String,
    },
    /// A blob that is not the message it should be.
    #[error("{digest} is not {what}")]
    Malformed {
        /// `an action`, `a command`, `a directory`.
        what: &'static str,
        /// The blob.
        digest: Box<Digest>,
    },
    /// The store failed.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// The server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl Diagnostic for ExplainError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Cas(error) => error.category(),
            Self::Remote(error) => error.category(),
            _ => ErrorCategory::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Digest { .. } => "write it as HASH/SIZE or HASH, as the build tool's log does".into(),
            Self::Missing { what: "action", .. } => {
                "it was never uploaded or is evicted; check the digest, and where the client stores: --remote names a server".into()
            }
            Self::Missing { .. } => "it was never uploaded, or is evicted; run the client once more".into(),
            Self::Ambiguous { .. } => "write it as HASH/SIZE".into(),
            Self::Malformed { .. } => "give the digest of an action, not that of a file or a command".into(),
            Self::Cas(error) => return error.hint(),
            Self::Remote(error) => return error.hint(),
        })
    }
}

/// Compares two actions, each named `HASH/SIZE`, `HASH` or `FUNCTION:HASH/SIZE`, and says whether `instance` has results of them.
pub async fn explain(source: &Source, instance: &str, action: &str, other: &str) -> Result<Explanation, ExplainError> {
    let messages = Messages { source, instance };
    let (one, two) = (messages.resolve(action).await?, messages.resolve(other).await?);
    let mut explanation = Explanation {
        action: Side { digest: one, cached: messages.is_cached(&one).await? },
        other: Side { digest: two, cached: messages.is_cached(&two).await? },
        differences: Vec::new(),
        truncated: false,
        unknown: Vec::new(),
    };
    if one != two {
        compare::actions(&messages, &one, &two, &mut explanation).await?;
    }
    Ok(explanation)
}

impl Explanation {
    /// Takes a difference in, or notes that there are too many.
    fn push(&mut self, difference: Difference) {
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(difference);
        } else {
            self.truncated = true;
        }
    }
}
