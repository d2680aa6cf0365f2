//! What goes wrong in a computation, and how those who depend on it see it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};

/// Why a key has no value. Cheap to clone: everybody who depends on the key may see it.
#[derive(Clone, Debug)]
pub enum Failure {
    /// `compute` returned an error.
    Error {
        /// The key that failed; a dependent that passes the failure on leaves this as it is.
        key: Arc<str>,
        /// What it said.
        error: Arc<dyn Diagnostic + Send + Sync>,
    },
    /// `compute` panicked.
    Panic {
        /// The key whose computation panicked.
        key: Arc<str>,
        /// The panic's message.
        message: Arc<str>,
    },
    /// The key depends on itself.
    Cycle(Cycle),
    /// Nobody wants the value any more.
    Cancelled,
    /// A leaf asked for another key.
    Leaf {
        /// The leaf.
        key: Arc<str>,
    },
}

impl Failure {
    /// The error of type `E` at the root of this failure, if it is one.
    pub fn error<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Error { error, .. } => {
                let error: &(dyn Diagnostic + Send + Sync) = &**error;
                let error: &dyn Error = error;
                error.downcast_ref()
            }
            _ => None,
        }
    }

    /// The key in which the failure began.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Error { key, .. } | Self::Panic { key, .. } | Self::Leaf { key } => Some(key),
            Self::Cycle(_) | Self::Cancelled => None,
        }
    }

    /// Whether it is [`Failure::Cancelled`].
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { key, error } => write!(f, "{key}: {error}"),
            Self::Panic { key, message } => write!(f, "{key}: the computation panicked: {message}"),
            Self::Cycle(cycle) => write!(f, "dependency cycle: {cycle}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Leaf { key } => write!(f, "{key}: a leaf asked for another key"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Error { error, .. } => error.source(),
            _ => None,
        }
    }
}

impl Diagnostic for Failure {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Error { error, .. } => error.category(),
            Self::Cycle(_) | Self::Cancelled => ErrorCategory::User,
            Self::Panic { .. } | Self::Leaf { .. } => ErrorCategory::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Error { error, .. } => error.hint(),
            Self::Cycle(cycle) => Some(format!(
                "Remove one of the dependencies, for example the one of {} on {}.",
                cycle.last(),
                cycle.first()
            )),
            Self::Panic { .. } | Self::Leaf { .. } => Some("This is a defect of BuildNet; please report it.".into()),
            Self::Cancelled => None,
        }
    }
}

/// Keys that depend on each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Each depends on the next, and the last on the first. Starts at the smallest, so that it reads the same in every run.
    keys: Arc<[String]>,
}

impl Cycle {
    /// A cycle of at least one key.
    pub(super) fn new(mut keys: Vec<String>) -> Self {
        let smallest = keys.iter().enumerate().min_by(|a, b| a.1.cmp(b.1)).map_or(0, |(index, _)| index);
        keys.rotate_left(smallest);
        Self { keys: keys.into() }
    }

    /// The keys, each depending on the next and the last on the first.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    fn first(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    fn last(&self) -> &str {
        self.keys.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &*self.keys {
            write!(f, "{key} -> ")?;
        }
        f.write_str(self.first())
    }
}

/// What `compute` returns when there is no value: an error of its own, or the failure of something it depends on.
///
/// Made with `?` from either. Not an error type itself, so that the conversion can be blanket.
#[derive(Debug)]
pub struct ComputeError(pub(super) Cause);

#[derive(Debug)]
pub(super) enum Cause {
    Own(Arc<dyn Diagnostic + Send + Sync>),
    Passed(Failure),
}

impl ComputeError {
    /// As the failure of `key`.
    pub(super) fn into_failure(self, key: impl fmt::Display) -> Failure {
        match self.0 {
            Cause::Own(error) => Failure::Error { key: key.to_string().into(), error },
            Cause::Passed(failure) => failure,
        }
    }
}

impl<E: Diagnostic + Send + Sync + 'static> From<E> for ComputeError {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<Failure>() {
            Some(failure) => Self(Cause::Passed(failure.clone())),
            None => Self(Cause::Own(Arc::new(error))),
        }
    }
}
