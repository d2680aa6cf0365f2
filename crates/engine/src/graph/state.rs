//! The table of nodes. Everything here happens under the graph's lock and does not wait.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::flight::Intrusion;
use super::key::{AnyKey, AnyValue, Holder, Key, hash_of};
use super::node::{Dependency, Node, NodeId, Slot, Stamp, Validity};
use super::waits::Waits;

/// Nodes, the way from a key to its node, and the clock.
#[derive(Default)]
pub(super) struct State {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    table: HashTable<NodeId>,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) clock: Stamp,
    /// Bytes that encoded slots point into.
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) waits: Waits,
    /// Number of computations under way.
    pub(super) flights: usize,
    /// Number of evaluations under way.
    pub(super) evaluations: usize,
    /// Whether anything changed that a save would write.
    pub(super) unsaved: bool,
}

impl State {
    pub(super) fn tick(&mut self) -> Stamp {
        self.clock += 1;
        self.clock
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes[id as usize].as_ref().expect("ids of removed nodes are held by nobody")
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id as usize].as_mut().expect("ids of removed nodes are held by nobody")
    }

    pub(super) fn find<K: Key>(&self, key: &K) -> Option<NodeId> {
        let hash = hash_of(&self.hasher, key);
        let equal = |&id: &NodeId| self.node(id).key.as_any().downcast_ref::<K>() == Some(key);
        self.table.find(hash, equal).copied()
    }

    pub(super) fn find_or_insert<K: Key>(&mut self, key: &K) -> NodeId {
        self.find(key).unwrap_or_else(|| {
            let hash = hash_of(&self.hasher, key);
            self.insert(Node::new(Arc::new(Holder(key.clone())), hash))
        })
    }

    /// Adds a node whose key is not there yet.
    pub(super) fn insert(&mut self, node: Node) -> NodeId {
        let hash = node.hash;
        let id = if let Some(id) = self.free.pop() {
            self.nodes[id as usize] = Some(node);
            id
        } else {
            let id = NodeId::try_from(self.nodes.len()).ok().filter(|id| *id < 1 << 31);
            self.nodes.push(Some(node));
            id.expect("fewer than 2^31 nodes fit into memory")
        };
        let nodes = &self.nodes;
        // Every id in the table names a node that is there.
        self.table.insert_unique(hash, id, |&id| nodes[id as usize].as_ref().map_or(0, |node| node.hash));
        id
    }

    /// Whether a node with an equal key is there.
    pub(super) fn contains(&self, key: &dyn AnyKey, hash: u64) -> bool {
        self.table.find(hash, |&id| self.node(id).key.equals(key)).is_some()
    }

    /// Room for `count` more nodes.
    pub(super) fn reserve(&mut self, count: usize) {
        self.nodes.reserve(count);
        let nodes = &self.nodes;
        self.table.reserve(count, |&id| nodes[id as usize].as_ref().map_or(0, |node| node.hash));
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        let present = self.nodes.iter().enumerate().filter(|(_, node)| node.is_some());
        #[expect(clippy::cast_possible_truncation, reason = "`insert` keeps ids below 2^31")]
        present.map(|(index, _)| index as NodeId)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Removes nodes that no other than these depends on.
    pub(super) fn remove_all(&mut self, ids: &[NodeId]) {
        for &id in ids {
            self.set_dependencies(id, Box::new([]));
        }
        for &id in ids {
            if let Some(node) = self.nodes[id as usize].take() {
                if let Ok(entry) = self.table.find_entry(node.hash, |&other| other == id) {
                    entry.remove();
                }
                self.free.push(id);
                self.unsaved = true;
            }
        }
    }

    /// The node's value, decoded if need be. A value that does not decode is dropped, and the node is dirty.
    pub(super) fn value(&mut self, id: NodeId) -> Option<AnyValue> {
        match &self.node(id).value {
            Slot::Empty => None,
            Slot::Ready(value) => Some(value.clone()),
            Slot::Encoded(range) => {
                let range = range.clone();
                let decoded = self.node(id).key.decode_value(self.encoded(&range));
                if let Ok(value) = decoded {
                    self.node_mut(id).value = Slot::Ready(value.clone());
                    Some(value)
                } else {
                    self.node_mut(id).value = Slot::Empty;
                    self.invalidate(id);
                    None
                }
            }
        }
    }

    pub(super) fn encoded(&self, range: &Range<u32>) -> &[u8] {
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Replaces the node's recorded dependencies.
    pub(super) fn set_dependencies(&mut self, id: NodeId, dependencies: Box<[Dependency]>) {
        if *self.node(id).dependencies == *dependencies {
            return;
        }
        let old = std::mem::take(&mut self.node_mut(id).dependencies);
        for dependency in &old {
            self.node_mut(dependency.id()).dependents.remove(id);
        }
        for dependency in &dependencies {
            self.node_mut(dependency.id()).dependents.insert(id);
        }
        self.node_mut(id).dependencies = dependencies;
    }

    /// After loading: enters every node with those it depends on, and restores the invariant of validity.
    pub(super) fn link(&mut self) {
        let ids: Vec<NodeId> = self.ids().collect();
        for &id in &ids {
            let dependencies = std::mem::take(&mut self.node_mut(id).dependencies);
            for dependency in &dependencies {
                self.node_mut(dependency.id()).dependents.insert(id);
            }
            self.node_mut(id).dependencies = dependencies;
        }
        for id in ids {
            if self.node(id).validity != Validity::Clean {
                self.suspect_dependents(id);
            }
        }
    }

    /// Marks a node to be computed again, and what depends on it as suspect. Returns how many became suspect.
    pub(super) fn invalidate(&mut self, id: NodeId) -> usize {
        let node = self.node_mut(id);
        node.validity = Validity::Dirty;
        if let Some(flight) = &node.flight {
            flight.intrude(Intrusion::Invalidated);
        }
        self.unsaved = true;
        self.suspect_dependents(id)
    }

    /// Restores the invariant that what depends on a node that is not clean is not clean either.
    pub(super) fn suspect_dependents(&mut self, id: NodeId) -> usize {
        let mut suspected = 0;
        let mut stack = vec![id];
        let mut dependents = Vec::new();
        while let Some(id) = stack.pop() {
            dependents.clear();
            self.node(id).dependents.for_each(|dependent| dependents.push(dependent));
            for &dependent in &dependents {
                let node = self.node_mut(dependent);
                // Below a node that is not clean nothing is clean.
                if node.validity == Validity::Clean {
                    node.validity = Validity::Suspect;
                    suspected += 1;
                    stack.push(dependent);
                }
            }
        }
        suspected
    }

    /// Gives a leaf a value from outside. Returns whether it differs from the one before.
    pub(super) fn set(&mut self, id: NodeId, value: AnyValue, same: bool) -> bool {
        let now = if same { self.clock } else { self.tick() };
        self.set_dependencies(id, Box::new([]));
        let node = self.node_mut(id);
        node.value = Slot::Ready(value);
        node.validity = Validity::Clean;
        node.failure = None;
        node.verified_at = now;
        node.settled_at = now;
        if let Some(flight) = &node.flight {
            flight.intrude(Intrusion::Set);
        }
        if !same {
            node.changed_at = now;
            self.unsaved = true;
            self.suspect_dependents(id);
        }
        !same
    }
}
