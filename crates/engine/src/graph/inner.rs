//! Demand: from a key that is wanted to its settled outcome, by waiting for a computation under way or starting one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::compute;
use super::error::{Cycle, Failure};
use super::flight::{Flight, Waiter};
use super::key::AnyValue;
use super::node::{NodeId, Stamp};
use super::services::Services;
use super::state::State;
use super::statistics::Counters;

/// What handles to a graph share.
pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) services: Services,
}

/// One evaluation.
pub(super) struct Run {
    /// Everything this evaluation uses was right at some time since.
    pub(super) began: Stamp,
    pub(super) services: Services,
    /// The computations that this evaluation began and that are under way.
    pub(super) live: Mutex<HashMap<NodeId, Arc<Flight>>>,
    pub(super) counters: Counters,
}

/// A computation that was registered under the lock, to be spawned outside of it.
pub(super) struct Start {
    id: NodeId,
    flight: Arc<Flight>,
}

enum Step<R> {
    Ready(R),
    Failed(Failure),
    Wait(Waiter),
}

/// A settled node as its dependents see it.
pub(super) struct Reading {
    pub(super) outcome: Result<AnyValue, Failure>,
    pub(super) changed_at: Stamp,
}

/// Reads a settled node; nothing if it turns out to have neither value nor failure.
pub(super) fn read(state: &mut State, id: NodeId) -> Option<Reading> {
    let node = state.node(id);
    let changed_at = node.changed_at;
    let outcome = match &node.failure {
        Some(failure) => Err((**failure).clone()),
        None => Ok(state.value(id)?),
    };
    Some(Reading { outcome, changed_at })
}

impl Inner {
    /// Brings all of `ids` to a settled state, in parallel, and reads each at a moment when it is settled. `read` returns
    /// nothing to have the node computed after all.
    ///
    /// `waiting` is the node on whose behalf this happens. Fails for a node if waiting for it would close a cycle, and when
    /// `cancel` is cancelled.
    pub(super) async fn settle<R>(
        self: &Arc<Self>,
        run: &Arc<Run>,
        ids: &[NodeId],
        waiting: Option<NodeId>,
        cancel: &CancellationToken,
        read: impl Fn(&mut State, NodeId) -> Option<R>,
    ) -> Vec<Result<R, Failure>> {
        let mut starts = Vec::new();
        // Outlives the lock, which waiters take when they are dropped.
        let mut steps: Vec<Step<R>> = Vec::with_capacity(ids.len());
        {
            let mut state = self.state.lock();
            for &id in ids {
                steps.push(self.step(&mut state, run, id, waiting, &mut starts, &read));
            }
        }
        self.launch(run, starts);
        let mut results = Vec::with_capacity(ids.len());
        for (&id, mut step) in ids.iter().zip(steps) {
            results.push(loop {
                match step {
                    Step::Ready(value) => break Ok(value),
                    Step::Failed(failure) => break Err(failure),
                    Step::Wait(waiter) => {
                        if let Err(failure) = waiter.wait(cancel).await {
                            break Err(failure);
                        }
                        drop(waiter);
                        let mut starts = Vec::new();
                        step = self.step(&mut self.state.lock(), run, id, waiting, &mut starts, &read);
                        self.launch(run, starts);
                    }
                }
            });
        }
        results
    }

    fn step<R>(
        self: &Arc<Self>,
        state: &mut State,
        run: &Run,
        id: NodeId,
        waiting: Option<NodeId>,
        starts: &mut Vec<Start>,
        read: &impl Fn(&mut State, NodeId) -> Option<R>,
    ) -> Step<R> {
        if state.node(id).settled(run.began)
            && let Some(value) = read(state, id)
        {
            return Step::Ready(value);
        }
        let flight = if let Some(flight) = state.node(id).flight.clone() {
            // It may be cancelled already; then this waits for its end, and starts it again.
            flight
        } else {
            let flight = Arc::new(Flight::new());
            state.node_mut(id).flight = Some(flight.clone());
            state.flights += 1;
            run.live.lock().insert(id, flight.clone());
            starts.push(Start { id, flight: flight.clone() });
            flight
        };
        let edge = match waiting {
            None => None,
            Some(waiting) => match state.waits.insert(waiting, id) {
                Ok(edge) => Some((waiting, id, edge)),
                Err(cycle) => return Step::Failed(cycle_failure(state, &cycle)),
            },
        };
        Step::Wait(Waiter::new(self.clone(), flight, edge))
    }

    fn launch(self: &Arc<Self>, run: &Arc<Run>, starts: Vec<Start>) {
        for Start { id, flight } in starts {
            tokio::spawn(compute::drive(self.clone(), run.clone(), id, flight));
        }
    }

    /// Breaks the cycles among the waits that were not seen when they were closed.
    pub(super) fn sweep(&self) {
        let mut state = self.state.lock();
        while let Some((cycle, edge)) = state.waits.sweep() {
            edge.break_with(cycle_failure(&state, &cycle));
        }
    }
}

fn cycle_failure(state: &State, cycle: &[NodeId]) -> Failure {
    Failure::Cycle(Cycle::new(cycle.iter().map(|&id| state.node(id).key.to_string()).collect()))
}

impl Run {
    /// Waits for the computations that this evaluation began and nobody wants any more to end.
    pub(super) async fn abandoned(&self) {
        loop {
            let flight = self.live.lock().values().find(|flight| !flight.wanted()).cloned();
            match flight {
                Some(flight) => flight.done.cancelled().await,
                None => return,
            }
        }
    }
}
