//! A computation under way, and those who wait for it.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::inner::Inner;
use super::node::NodeId;

/// A computation under way. Its flags change only under the graph's lock.
pub(super) struct Flight {
    /// Tells the computation to end: nobody waits for it any more.
    pub(super) cancel: CancellationToken,
    /// Cancelled when the outcome is in the node.
    pub(super) done: CancellationToken,
    /// How many wait.
    interest: AtomicU32,
    intrusion: AtomicU8,
}

/// What a transaction did to a node while it was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intrusion {
    Nothing,
    /// Invalidated: the outcome may be out of date already.
    Invalidated,
    /// Set to another value: the outcome is out of date.
    Set,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            cancel: CancellationToken::new(),
            done: CancellationToken::new(),
            interest: AtomicU32::new(0),
            intrusion: AtomicU8::new(0),
        }
    }

    pub(super) fn wanted(&self) -> bool {
        self.interest.load(Ordering::Relaxed) > 0
    }

    pub(super) fn intrude(&self, intrusion: Intrusion) {
        self.intrusion.fetch_max(intrusion as u8, Ordering::Relaxed);
    }

    pub(super) fn intrusion(&self) -> Intrusion {
        match self.intrusion.load(Ordering::Relaxed) {
            0 => Intrusion::Nothing,
            1 => Intrusion::Invalidated,
            _ => Intrusion::Set,
        }
    }
}

/// That one computation waits for another. Lets a cycle be broken at this place.
pub(super) struct Edge {
    pub(super) interrupt: CancellationToken,
    pub(super) failure: OnceLock<Failure>,
}

impl Edge {
    pub(super) fn new() -> Self {
        Self { interrupt: CancellationToken::new(), failure: OnceLock::new() }
    }

    /// Ends the wait with `failure`.
    pub(super) fn break_with(&self, failure: Failure) {
        let _ = self.failure.set(failure);
        self.interrupt.cancel();
    }
}

/// Somebody's interest in a flight. Dropping the last one cancels the flight.
pub(super) struct Waiter {
    inner: Arc<Inner>,
    pub(super) flight: Arc<Flight>,
    /// The waiting node, the node waited for, and their edge; none for a root.
    edge: Option<(NodeId, NodeId, Arc<Edge>)>,
}

impl Waiter {
    /// Called with the graph locked.
    pub(super) fn new(inner: Arc<Inner>, flight: Arc<Flight>, edge: Option<(NodeId, NodeId, Arc<Edge>)>) -> Self {
        flight.interest.fetch_add(1, Ordering::Relaxed);
        Self { inner, flight, edge }
    }

    /// Waits for the flight's end, or for `cancel`, or until a cycle through this wait is found.
    pub(super) async fn wait(&self, cancel: &CancellationToken) -> Result<(), Failure> {
        let interrupted = async {
            match &self.edge {
                Some((_, _, edge)) => edge.interrupt.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::Cancelled),
            () = self.flight.done.cancelled() => Ok(()),
            () = interrupted => {
                let failure = self.edge.as_ref().and_then(|(_, _, edge)| edge.failure.get());
                Err(failure.cloned().unwrap_or(Failure::Cancelled))
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        if let Some((waiting, target, _)) = &self.edge {
            state.waits.remove(*waiting, *target);
        }
        let last = self.flight.interest.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && !self.flight.done.is_cancelled() {
            self.flight.cancel.cancel();
        }
    }
}
