//! What a computation sees of the graph, and the record of what it asked for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::Failure;
use super::flight::Flight;
use super::inner::{Inner, Reading, Run, read};
use super::key::{AnyValue, Key, typed};
use super::node::{Dependency, NodeId, Stamp};

/// Why a key is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has no value yet.
    First,
    /// It was invalidated itself.
    Invalidated,
    /// The value of this dependency changed; the first in the order of request.
    DependencyChanged(String),
    /// This dependency failed.
    DependencyFailed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("never computed before"),
            Self::Invalidated => f.write_str("invalidated"),
            Self::DependencyChanged(key) => write!(f, "{key} changed"),
            Self::DependencyFailed(key) => write!(f, "{key} failed"),
        }
    }
}

/// Given to [`Key::compute`]: access to other keys, and to the host's services. Everything asked for is recorded.
pub struct Context {
    inner: Arc<Inner>,
    run: Arc<Run>,
    id: NodeId,
    flight: Arc<Flight>,
    leaf: bool,
    previous: Option<AnyValue>,
    reason: Reason,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// In order of request: node, number of the request, and when the value that was seen had changed; none until seen.
    requests: Vec<(NodeId, u32, Option<Stamp>)>,
    groups: u32,
    saw_failure: bool,
}

/// What one computation asked for.
pub(super) struct Recording {
    /// Without repetition, in order of request.
    pub(super) dependencies: Box<[Dependency]>,
    /// The same nodes, with when the seen value had changed.
    pub(super) observed: Vec<(NodeId, Stamp)>,
    pub(super) saw_failure: bool,
}

impl Context {
    pub(super) fn new(
        inner: Arc<Inner>,
        run: Arc<Run>,
        id: NodeId,
        flight: Arc<Flight>,
        leaf: bool,
        previous: Option<AnyValue>,
        reason: Reason,
    ) -> Self {
        Self { inner, run, id, flight, leaf, previous, reason, record: Mutex::default() }
    }

    /// The value of `key`. Fails if it failed, if it depends on this very computation, or if this computation is cancelled.
    ///
    /// A future that is dropped before it is ready leaves no dependency.
    pub async fn get<K: Key>(&self, key: &K) -> Result<K::Value, Failure> {
        let mut values = self.get_all(std::slice::from_ref(key)).await;
        // One key was asked for.
        values.pop().unwrap_or(Err(Failure::Cancelled))
    }

    /// The values of `keys`, in their order, computed in parallel.
    ///
    /// When checking whether anything changed, the keys of one call are checked in parallel as well; calls are checked one
    /// after the other, so that a later call may depend on the values of an earlier one.
    pub async fn get_all<'k, K: Key>(&self, keys: impl IntoIterator<Item = &'k K>) -> Vec<Result<K::Value, Failure>> {
        let ids: Vec<NodeId> = {
            let mut state = self.inner.state.lock();
            keys.into_iter().map(|key| state.find_or_insert(key)).collect()
        };
        if self.leaf {
            let key: Arc<str> = self.inner.state.lock().node(self.id).key.to_string().into();
            return ids.iter().map(|_| Err(Failure::Leaf { key: key.clone() })).collect();
        }
        let first = {
            let mut record = self.record.lock();
            let (first, group) = (record.requests.len(), record.groups);
            record.groups += 1;
            record.requests.extend(ids.iter().map(|&id| (id, group, None)));
            first
        };
        let readings = self.inner.settle(&self.run, &ids, Some(self.id), &self.flight.cancel, read).await;
        let mut record = self.record.lock();
        let mut values = Vec::with_capacity(readings.len());
        for (index, reading) in readings.into_iter().enumerate() {
            values.push(match reading {
                Ok(Reading { outcome, changed_at }) => {
                    record.requests[first + index].2 = Some(changed_at);
                    record.saw_failure |= outcome.is_err();
                    outcome.map(|value| typed::<K>(&value).clone())
                }
                Err(failure) => {
                    record.saw_failure = true;
                    Err(failure)
                }
            });
        }
        values
    }

    /// The key's own value before this computation, for incremental work. It may be out of date in any way.
    pub fn previous<K: Key>(&self) -> Option<&K::Value> {
        self.previous.as_ref()?.downcast_ref()
    }

    /// Why the key is computed.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Ready when nobody wants the value any more. See [`Key::CLEANS_UP`].
    pub async fn cancelled(&self) {
        self.flight.cancel.cancelled().await;
    }

    /// The token behind [`cancelled`](Self::cancelled), to hand to what the computation calls.
    pub fn cancellation(&self) -> tokio_util::sync::CancellationToken {
        self.flight.cancel.clone()
    }

    /// The service of type `T`: the evaluation's, else the graph's.
    ///
    /// # Panics
    /// If the host gave none; this becomes the key's failure.
    pub fn host<T: Send + Sync + 'static>(&self) -> &T {
        let service = self.run.services.get().or_else(|| self.inner.services.get());
        service.unwrap_or_else(|| panic!("the host gives no {}", std::any::type_name::<T>()))
    }

    pub(super) fn into_recording(self) -> Recording {
        let Record { requests, saw_failure, .. } = self.record.into_inner();
        let mut places: HashMap<NodeId, usize> = HashMap::with_capacity(requests.len());
        let mut dependencies = Vec::with_capacity(requests.len());
        let mut observed: Vec<(NodeId, Stamp)> = Vec::with_capacity(requests.len());
        let mut group_before = None;
        for (id, group, changed_at) in requests {
            let Some(changed_at) = changed_at else { continue };
            if let Some(&place) = places.get(&id) {
                // Two readings that differ: the older one counts, and will be found out of date.
                observed[place].1 = observed[place].1.min(changed_at);
                continue;
            }
            places.insert(id, observed.len());
            observed.push((id, changed_at));
            dependencies.push(Dependency::new(id, group_before == Some(group)));
            group_before = Some(group);
        }
        Recording { dependencies: dependencies.into(), observed, saw_failure }
    }
}
