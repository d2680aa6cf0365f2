//! Changes from outside.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::handle::Graph;
use super::key::{AnyKey, AnyValue, Key};
use super::node::{NodeId, Slot, Validity};
use super::state::State;

type Change = Box<dyn FnOnce(&mut State, &mut Commit) + Send>;

/// Changes that take effect together. Dropped without [`commit`](Self::commit), nothing happens.
#[must_use = "takes effect when committed"]
pub struct Transaction<'g> {
    graph: &'g Graph,
    changes: Vec<Change>,
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Keys invalidated that had a value.
    pub invalidated: usize,
    /// Leaves whose value was set to a different one.
    pub changed: usize,
}

impl<'g> Transaction<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        Self { graph, changes: Vec::new() }
    }

    /// Has `key` computed again when it is next wanted. Nothing happens for a key that was never computed.
    pub fn invalidate<K: Key>(&mut self, key: &K) {
        let key = key.clone();
        self.changes.push(Box::new(move |state, commit| {
            if let Some(id) = state.find(&key) {
                commit.invalidated += usize::from(!matches!(state.node(id).value, Slot::Empty));
                state.invalidate(id);
            }
        }));
    }

    /// Has every key of one kind computed again when it is next wanted.
    pub fn invalidate_all<K: Key>(&mut self) {
        self.changes.push(Box::new(|state, commit| {
            let ids: Vec<NodeId> = state.ids().filter(|&id| state.node(id).key.as_any().is::<K>()).collect();
            for id in ids {
                commit.invalidated += usize::from(!matches!(state.node(id).value, Slot::Empty));
                state.invalidate(id);
            }
        }));
    }

    /// Gives a leaf its value. If that is the same as before, the leaf is clean and nothing above it is computed; what
    /// [`Key::same`] does not look at is replaced all the same, and saved when something else is.
    ///
    /// # Panics
    /// Never when running: for a key that is no leaf it does not compile.
    pub fn set<K: Key>(&mut self, key: &K, value: K::Value) {
        const { assert!(K::LEAF, "only leaves are set from outside") }
        let key = key.clone();
        self.changes.push(Box::new(move |state, commit| {
            let id = state.find_or_insert(&key);
            let value: AnyValue = Arc::new(value);
            let same = state.value(id).is_some_and(|old| state.node(id).key.same(&old, &value));
            commit.changed += usize::from(state.set(id, value, same));
        }));
    }

    /// Applies the changes, all at once.
    pub fn commit(self) -> Commit {
        let mut commit = Commit::default();
        let mut state = self.graph.inner.state.lock();
        for change in self.changes {
            change(&mut state, &mut commit);
        }
        commit
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

/// A leaf and its value, outside the graph's lock.
pub struct Leaf<K: Key> {
    key: Arc<dyn AnyKey>,
    value: Stored,
    clean: bool,
    kind: PhantomData<fn() -> K>,
}

enum Stored {
    Ready(AnyValue),
    Encoded { bytes: Arc<Vec<u8>>, range: std::ops::Range<u32> },
}

impl<K: Key> Leaf<K> {
    /// The key.
    #[expect(clippy::missing_panics_doc, reason = "never panics: `leaves` takes nodes with keys of this type only")]
    pub fn key(&self) -> &K {
        self.key.as_any().downcast_ref().expect("`leaves` takes keys of this type only")
    }

    /// The value; nothing if its encoding is damaged.
    pub fn value(&self) -> Option<K::Value> {
        match &self.value {
            Stored::Ready(value) => value.downcast_ref::<K::Value>().cloned(),
            Stored::Encoded { bytes, range } => {
                let bytes = bytes.get(range.start as usize..range.end as usize)?;
                let value = self.key.decode_value(bytes).ok()?;
                value.downcast_ref::<K::Value>().cloned()
            }
        }
    }

    /// Whether the graph takes the value to be right.
    pub const fn clean(&self) -> bool {
        self.clean
    }
}

impl<K: Key> fmt::Debug for Leaf<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("key", self.key()).field("clean", &self.clean).finish_non_exhaustive()
    }
}

pub(super) fn leaves<K: Key>(state: &State) -> Vec<Leaf<K>> {
    let nodes = state.ids().map(|id| state.node(id)).filter(|node| node.key.as_any().is::<K>());
    nodes
        .filter_map(|node| {
            let value = match &node.value {
                Slot::Empty => return None,
                Slot::Ready(value) => Stored::Ready(value.clone()),
                Slot::Encoded(range) => Stored::Encoded { bytes: state.bytes.clone(), range: range.clone() },
            };
            Some(Leaf { key: node.key.clone(), value, clean: node.validity == Validity::Clean, kind: PhantomData })
        })
        .collect()
}
