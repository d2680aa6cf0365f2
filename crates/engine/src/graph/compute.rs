//! The life of one computation: check what was recorded, compute if that changed, put the outcome into the node.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use super::context::{Context, Reason, Recording};
use super::error::Failure;
use super::flight::{Flight, Intrusion};
use super::inner::{Inner, Run};
use super::key::{AnyKey, AnyValue, ComputeFuture};
use super::node::{Dependency, NodeId, Slot, Stamp, Validity};
use super::state::State;
use super::statistics::Counters;

enum Outcome {
    /// Cancelled: as if nothing had happened.
    Nothing,
    /// No recorded dependency changed.
    Verified,
    Computed {
        value: AnyValue,
        same: bool,
        recording: Recording,
        started: Stamp,
    },
    Failed {
        failure: Failure,
        recording: Recording,
    },
}

/// Runs one flight to its end. Boxed, because computations start computations.
pub(super) fn drive(
    inner: Arc<Inner>,
    run: Arc<Run>,
    id: NodeId,
    flight: Arc<Flight>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    // Made before the first poll, so that a runtime that shuts down and drops the task ends the flight as well.
    let mut landing = Landing { inner, run, id, flight, outcome: Outcome::Nothing };
    Box::pin(async move {
        let outcome = fly(&landing.inner, &landing.run, id, &landing.flight).await;
        landing.outcome = outcome;
        drop(landing);
    })
}

async fn fly(inner: &Arc<Inner>, run: &Arc<Run>, id: NodeId, flight: &Arc<Flight>) -> Outcome {
    let (key, recorded, verified_at) = {
        let state = inner.state.lock();
        let node = state.node(id);
        let suspect = node.validity == Validity::Suspect && !matches!(node.value, Slot::Empty);
        (node.key.clone(), suspect.then(|| node.dependencies.clone()), node.verified_at)
    };
    let mut reason = Reason::Invalidated;
    if let Some(recorded) = recorded {
        let changed = tokio::select! {
            biased;
            () = flight.cancel.cancelled() => return Outcome::Nothing,
            changed = first_change(inner, run, id, flight, &recorded, verified_at) => changed,
        };
        match changed {
            None => return Outcome::Verified,
            Some(change) => reason = change,
        }
    }
    compute(inner, run, id, flight, &*key, reason).await
}

/// Checks recorded dependencies in the order in which they were requested; those requested together, together. What comes
/// after a change is not looked at: it was requested because of what came before, and may not be requested again.
async fn first_change(
    inner: &Arc<Inner>,
    run: &Arc<Run>,
    id: NodeId,
    flight: &Flight,
    recorded: &[Dependency],
    verified_at: Stamp,
) -> Option<Reason> {
    let change = |state: &State, dependency: NodeId| {
        let node = state.node(dependency);
        if node.failure.is_some() {
            Some(Reason::DependencyFailed(node.key.to_string()))
        } else if node.changed_at > verified_at {
            Some(Reason::DependencyChanged(node.key.to_string()))
        } else {
            None
        }
    };
    let mut next = 0;
    loop {
        let group = {
            let state = inner.state.lock();
            loop {
                let dependency = recorded.get(next)?.id();
                if !state.node(dependency).settled(run.began) {
                    break;
                }
                if let Some(reason) = change(&state, dependency) {
                    return Some(reason);
                }
                next += 1;
            }
            let end = recorded[next + 1..].iter().position(|dependency| !dependency.together());
            next..end.map_or(recorded.len(), |end| next + 1 + end)
        };
        next = group.end;
        let ids: Vec<NodeId> = recorded[group].iter().map(|dependency| dependency.id()).collect();
        let changes = inner.settle(run, &ids, Some(id), &flight.cancel, |state, id| Some(change(state, id))).await;
        for (id, change) in ids.into_iter().zip(changes) {
            match change {
                Ok(None) => {}
                Ok(Some(reason)) => return Some(reason),
                Err(_) => return Some(Reason::DependencyFailed(inner.state.lock().node(id).key.to_string())),
            }
        }
    }
}

async fn compute(
    inner: &Arc<Inner>,
    run: &Arc<Run>,
    id: NodeId,
    flight: &Arc<Flight>,
    key: &dyn AnyKey,
    reason: Reason,
) -> Outcome {
    let (previous, started) = {
        let mut state = inner.state.lock();
        (state.value(id), state.clock)
    };
    let reason = if previous.is_none() && reason == Reason::Invalidated { Reason::First } else { reason };
    let context = Context::new(inner.clone(), run.clone(), id, flight.clone(), key.leaf(), previous.clone(), reason);
    let result = {
        let computing = catch_panic(key.compute(&context));
        if key.cleans_up() {
            computing.await
        } else {
            tokio::select! {
                biased;
                () = flight.cancel.cancelled() => return Outcome::Nothing,
                result = computing => result,
            }
        }
    };
    let recording = context.into_recording();
    let failure = match result {
        Ok(Ok(value)) => {
            let same = previous.is_some_and(|previous| key.same(&previous, &value));
            return Outcome::Computed { value, same, recording, started };
        }
        Ok(Err(_)) if flight.cancel.is_cancelled() => return Outcome::Nothing,
        Ok(Err(error)) => error.into_failure(key),
        Err(message) => Failure::Panic { key: key.to_string().into(), message: message.into() },
    };
    Outcome::Failed { failure, recording }
}

/// The future's result, or the message of its panic.
async fn catch_panic(mut future: ComputeFuture<'_>) -> Result<Result<AnyValue, super::error::ComputeError>, String> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic_message(&*panic))),
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// Puts the outcome into the node when the flight ends, however it ends.
struct Landing {
    inner: Arc<Inner>,
    run: Arc<Run>,
    id: NodeId,
    flight: Arc<Flight>,
    outcome: Outcome,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Nothing);
        let intrusion;
        {
            let mut state = self.inner.state.lock();
            state.node_mut(self.id).flight = None;
            state.flights -= 1;
            intrusion = self.flight.intrusion();
            // A leaf that was set meanwhile has a newer value than this computation's.
            if intrusion != Intrusion::Set {
                self.land(&mut state, outcome, intrusion == Intrusion::Invalidated);
            }
        }
        self.run.live.lock().remove(&self.id);
        self.flight.done.cancel();
    }
}

impl Landing {
    fn land(&self, state: &mut State, outcome: Outcome, invalidated: bool) {
        let counters = &self.run.counters;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Verified => {
                let node = state.node(self.id);
                let verified_at = node.verified_at;
                let recorded = node.dependencies.iter().map(|dependency| dependency.id());
                let observed: Vec<_> = recorded.map(|id| (id, state.node(id).changed_at)).collect();
                let unchanged =
                    |&(id, changed_at): &(NodeId, Stamp)| changed_at <= verified_at && state.node(id).failure.is_none();
                // Else something changed between the check and now; whoever waits starts again.
                if !invalidated && observed.iter().all(unchanged) {
                    Counters::add(&counters.verified);
                    self.settle(state, &observed, false);
                    let clean = all_clean(state, &observed);
                    let now = state.clock;
                    state.unsaved = true;
                    let node = state.node_mut(self.id);
                    node.verified_at = now;
                    node.failure = None;
                    node.validity = if clean { Validity::Clean } else { Validity::Suspect };
                }
            }
            Outcome::Failed { failure, recording } => {
                Counters::add(&counters.computed);
                Counters::add(&counters.failed);
                self.settle(state, &recording.observed, invalidated);
                state.node_mut(self.id).failure = Some(Box::new(failure));
            }
            Outcome::Computed { value, same, recording, started } => {
                Counters::add(&counters.computed);
                if same {
                    Counters::add(&counters.cut_off);
                }
                self.settle(state, &recording.observed, invalidated);
                let consistent = recording.observed.iter().all(|&(id, at)| state.node(id).changed_at == at);
                let validity = if invalidated || recording.saw_failure {
                    // What a failure was turned into holds for this evaluation alone.
                    Validity::Dirty
                } else if consistent && all_clean(state, &recording.observed) {
                    Validity::Clean
                } else {
                    Validity::Suspect
                };
                state.set_dependencies(self.id, recording.dependencies);
                let now = if same { state.clock } else { state.tick() };
                state.unsaved = true;
                let node = state.node_mut(self.id);
                node.verified_at = if consistent { now } else { started };
                if !same {
                    node.changed_at = now;
                }
                node.value = Slot::Ready(value);
                node.failure = None;
                node.validity = validity;
            }
        }
    }

    /// Decides for which evaluations the outcome is settled: those that began no later than it was right. That is now, unless
    /// a dependency is itself only settled for older ones, or changed since it was read.
    fn settle(&self, state: &mut State, observed: &[(NodeId, Stamp)], invalidated: bool) {
        let mut settled_at = if invalidated { self.run.began } else { state.clock };
        for &(id, changed_at) in observed {
            let node = state.node(id);
            if node.changed_at != changed_at {
                settled_at = self.run.began;
            } else if node.validity != Validity::Clean {
                settled_at = settled_at.min(node.settled_at);
            }
        }
        state.node_mut(self.id).settled_at = settled_at.max(self.run.began);
    }
}

fn all_clean(state: &State, observed: &[(NodeId, Stamp)]) -> bool {
    observed.iter().all(|&(id, _)| state.node(id).validity == Validity::Clean)
}
