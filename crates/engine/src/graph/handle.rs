//! The graph as its host sees it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::inner::{Inner, Run, read};
use super::key::{Key, typed};
use super::node::{NodeId, Validity};
use super::services::Services;
use super::state::State;
use super::statistics::{Counters, Statistics};
use super::transaction::{Leaf, Transaction, leaves};

/// How often waits are searched for cycles that were too large to be seen when they closed.
const SWEEP: Duration = Duration::from_millis(50);

/// Keys, their values, and what was computed from what. A cheap handle: clones share the graph.
#[derive(Clone)]
pub struct Graph {
    pub(super) inner: Arc<Inner>,
}

/// How to evaluate.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Cancels the evaluation.
    pub cancel: CancellationToken,
    /// Services of this evaluation; they come before the graph's. A computation that several evaluations share sees those of
    /// the one that began it.
    pub services: Services,
}

/// What an evaluation found.
#[derive(Debug)]
pub struct Evaluation<V> {
    /// The value or failure of each requested key, in the order of request.
    pub values: Vec<Result<V, Failure>>,
    /// What had to be done.
    pub statistics: Statistics,
}

impl Graph {
    /// An empty graph whose computations see `services`.
    pub fn new(services: Services) -> Self {
        Self::with_state(State::default(), services)
    }

    pub(super) fn with_state(state: State, services: Services) -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::new(state), services }) }
    }

    /// Starts collecting changes from outside.
    pub fn begin(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// All leaves of one kind that have a value, for the host to compare with the outside world.
    ///
    /// Values are decoded where [`Leaf::value`] is called, so that several threads can share the work.
    pub fn leaves<K: Key>(&self) -> Vec<Leaf<K>> {
        leaves(&self.inner.state.lock())
    }

    /// The values of `keys`, computing what is not clean. Must run on a tokio runtime with time enabled.
    ///
    /// Every value was right at some time between the call and its return. Transactions may be committed meanwhile; what they
    /// change shows at the latest in the next evaluation. Cancelling returns when everything this evaluation began has ended
    /// or is wanted by another; dropping the future cancels without waiting.
    pub async fn evaluate<K: Key>(&self, keys: &[K], request: &Request) -> Evaluation<K::Value> {
        let counters = Counters::default();
        let (ids, run, _active) = {
            let mut state = self.inner.state.lock();
            let ids: Vec<NodeId> = keys.iter().map(|key| state.find_or_insert(key)).collect();
            for &id in &ids {
                if state.node(id).validity == Validity::Clean {
                    Counters::add(&counters.reused);
                }
            }
            let began = state.tick();
            let services = request.services.clone();
            state.evaluations += 1;
            (ids, Arc::new(Run { began, services, live: Mutex::new(HashMap::new()), counters }), Active(&self.inner))
        };
        let readings = {
            let settling = self.inner.settle(&run, &ids, None, &request.cancel, read);
            tokio::pin!(settling);
            loop {
                tokio::select! {
                    biased;
                    readings = &mut settling => break readings,
                    () = tokio::time::sleep(SWEEP) => self.inner.sweep(),
                }
            }
        };
        if request.cancel.is_cancelled() {
            run.abandoned().await;
        }
        let values = readings.into_iter().map(|reading| Ok(typed::<K>(&reading?.outcome?).clone())).collect();
        Evaluation { values, statistics: run.counters.read() }
    }

    /// The value of `key` if it is clean, without computing anything.
    pub fn peek<K: Key>(&self, key: &K) -> Option<K::Value> {
        let mut state = self.inner.state.lock();
        let id = state.find(key)?;
        let clean = state.node(id).validity == Validity::Clean;
        if clean { state.value(id).map(|value| typed::<K>(&value).clone()) } else { None }
    }

    /// Whether the graph knows `key`, with a value or without.
    pub fn contains<K: Key>(&self, key: &K) -> bool {
        self.inner.state.lock().find(key).is_some()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.inner.state.lock().len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether anything changed since the graph was loaded or last saved.
    pub fn unsaved(&self) -> bool {
        self.inner.state.lock().unsaved
    }
}

/// Keeps the ids of an evaluation's roots from being collected.
struct Active<'a>(&'a Inner);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.state.lock().evaluations -= 1;
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("len", &self.len()).finish_non_exhaustive()
    }
}
