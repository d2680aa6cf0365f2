//! Forgetting what nobody asks for any more, and looking at what is there.

use std::fmt;

use super::handle::Graph;
use super::key::{AnyKey, Key};
use super::node::{Node, NodeId, Validity};
use super::state::State;

/// A key in the graph, as [`Graph::retain`] and [`Graph::dependencies`] show it.
#[derive(Clone, Copy)]
pub struct Entry<'g> {
    node: &'g Node,
}

impl<'g> Entry<'g> {
    /// [`Key::KIND`] of its type.
    pub fn kind(&self) -> &'static str {
        self.node.key.kind()
    }

    /// The key, if it is of type `K`.
    pub fn key<K: Key>(&self) -> Option<&'g K> {
        self.node.key.as_any().downcast_ref()
    }

    /// Whether its value is known to be right.
    pub fn clean(&self) -> bool {
        self.node.validity == Validity::Clean
    }

    /// Whether no other key was computed from it.
    pub fn unused(&self) -> bool {
        self.node.dependents.is_empty()
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: &dyn AnyKey = &*self.node.key;
        key.fmt(f)
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({self})")
    }
}

impl Graph {
    /// Forgets every key that is neither wanted nor something that a wanted key was computed from. Returns how many; nothing
    /// is forgotten, and nothing returned, while an evaluation is under way.
    ///
    /// `wanted` must not use the graph.
    pub fn retain(&self, mut wanted: impl FnMut(Entry<'_>) -> bool) -> Option<usize> {
        let mut state = self.inner.state.lock();
        if state.evaluations > 0 || state.flights > 0 {
            return None;
        }
        let ids: Vec<NodeId> = state.ids().collect();
        let mut stack: Vec<NodeId> = ids.iter().copied().filter(|&id| wanted(entry(&state, id))).collect();
        let mut kept = vec![false; ids.last().map_or(0, |&last| last as usize + 1)];
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut kept[id as usize], true) {
                stack.extend(state.node(id).dependencies.iter().map(|dependency| dependency.id()));
            }
        }
        let forgotten: Vec<NodeId> = ids.into_iter().filter(|&id| !kept[id as usize]).collect();
        state.remove_all(&forgotten);
        Some(forgotten.len())
    }

    /// What `key` was computed from, in the order of request, or nothing if it was never computed. `read` must not use the
    /// graph.
    pub fn dependencies<K: Key, R>(&self, key: &K, mut read: impl FnMut(Entry<'_>) -> R) -> Option<Vec<R>> {
        let state = self.inner.state.lock();
        let node = state.node(state.find(key)?);
        let ids = node.dependencies.iter().map(|dependency| dependency.id());
        Some(ids.map(|id| read(entry(&state, id))).collect())
    }

    /// The keys computed from `key`, in no order. `read` must not use the graph.
    pub fn dependents<K: Key, R>(&self, key: &K, mut read: impl FnMut(Entry<'_>) -> R) -> Vec<R> {
        let state = self.inner.state.lock();
        let mut found = Vec::new();
        if let Some(id) = state.find(key) {
            state.node(id).dependents.for_each(|id| found.push(read(entry(&state, id))));
        }
        found
    }
}

fn entry(state: &State, id: NodeId) -> Entry<'_> {
    Entry { node: state.node(id) }
}
