//! A build in flight, and who listens to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use buildnet_event::{BuildId, BuildOutcome};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::request::BuildRequest;
use crate::error::ErrorReport;

/// What makes two requests the same: they may share one build.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FlightKey {
    root: PathBuf,
    command: String,
    environment: BTreeMap<String, String>,
}

impl FlightKey {
    /// `environment` holds only what makes a difference, so that two terminals ask for the same.
    pub(super) fn new(root: PathBuf, request: &BuildRequest, environment: BTreeMap<String, String>) -> Self {
        Self { root, command: request.command(), environment }
    }
}

/// How a build ended, once it has.
pub(super) type Ending = Option<Result<BuildOutcome, ErrorReport>>;

/// A build that runs, or waits for another one of its workspace.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: BuildId,
    pub(super) root: PathBuf,
    pub(super) command: String,
    pub(super) started_ms: u64,
    pub(super) cancel: CancellationToken,
    /// Event after which this build's events begin.
    pub(super) after: u64,
    pub(super) ending: watch::Receiver<Ending>,
    listeners: AtomicUsize,
    /// Somebody wants it done whether or not anyone listens.
    detached: AtomicBool,
}

/// A build in flight, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BuildInfo {
    /// Its identifier.
    pub id: String,
    /// The workspace's root.
    pub workspace: String,
    /// What was asked for.
    pub command: String,
    /// When it was asked for: milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How many clients listen.
    pub listeners: usize,
}

impl Flight {
    pub(super) fn new(
        id: BuildId,
        root: PathBuf,
        command: String,
        started_ms: u64,
        after: u64,
        ending: watch::Receiver<Ending>,
    ) -> Self {
        Self {
            id,
            root,
            command,
            started_ms,
            cancel: CancellationToken::new(),
            after,
            ending,
            listeners: AtomicUsize::new(0),
            detached: AtomicBool::new(false),
        }
    }

    pub(super) fn info(&self) -> BuildInfo {
        BuildInfo {
            id: self.id.to_string(),
            workspace: self.root.display().to_string(),
            command: self.command.clone(),
            started_ms: self.started_ms,
            listeners: self.listeners.load(Ordering::Relaxed),
        }
    }

    /// Whether a further request may join: a cancelled build would answer it wrongly.
    pub(super) fn joinable(&self) -> bool {
        !self.cancel.is_cancelled() && self.ending.borrow().is_none()
    }

    pub(super) fn join(self: &Arc<Self>, detached: bool) -> Listener {
        self.listeners.fetch_add(1, Ordering::AcqRel);
        if detached {
            self.detached.store(true, Ordering::Release);
        }
        Listener { flight: Arc::clone(self) }
    }
}

/// Someone who waits for a build. When the last one goes, the build is cancelled.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) flight: Arc<Flight>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let last = self.flight.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && !self.flight.detached.load(Ordering::Acquire) && self.flight.ending.borrow().is_none() {
            self.flight.cancel.cancel();
        }
    }
}
