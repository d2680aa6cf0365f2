//! One key in the graph: its value, what it was computed from, and whether that still holds.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::error::Failure;
use super::flight::Flight;
use super::key::{AnyKey, AnyValue};

/// Index of a node.
pub(super) type NodeId = u32;

/// Time of the graph's logical clock. It ticks on every change of a value and at the start of every evaluation.
pub(super) type Stamp = u64;

/// What is known of a node's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// The value is right. Holds only while all dependencies are clean.
    Clean,
    /// Something below may have changed: right if no recorded dependency changed after `verified_at`.
    Suspect,
    /// To be computed, whatever the dependencies say.
    Dirty,
}

/// A recorded dependency: the node, and whether it was requested together with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dependency(u32);

impl Dependency {
    const TOGETHER: u32 = 1 << 31;

    pub(super) const fn new(id: NodeId, together: bool) -> Self {
        Self(if together { id | Self::TOGETHER } else { id })
    }

    pub(super) const fn id(self) -> NodeId {
        self.0 & !Self::TOGETHER
    }

    pub(super) const fn together(self) -> bool {
        self.0 & Self::TOGETHER != 0
    }
}

/// A value: absent, still encoded in the bytes that the graph was loaded from, or ready.
#[derive(Clone)]
pub(super) enum Slot {
    Empty,
    Encoded(Range<u32>),
    Ready(AnyValue),
}

/// The nodes that were computed from this one.
#[derive(Clone, Debug)]
pub(super) enum Dependents {
    /// Few: searched in order.
    Few(Vec<NodeId>),
    /// Many, such as those of a toolchain that every task uses.
    #[expect(clippy::box_collection, reason = "few nodes have many dependents; the others stay smaller by 24 bytes")]
    Many(Box<HashSet<NodeId>>),
}

impl Dependents {
    const FEW: usize = 16;

    pub(super) fn insert(&mut self, id: NodeId) {
        match self {
            Self::Few(list) if list.contains(&id) => {}
            Self::Few(list) if list.len() < Self::FEW => list.push(id),
            Self::Few(list) => {
                let mut set: HashSet<NodeId> = list.drain(..).collect();
                set.insert(id);
                *self = Self::Many(Box::new(set));
            }
            Self::Many(set) => {
                set.insert(id);
            }
        }
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        match self {
            Self::Few(list) => {
                if let Some(index) = list.iter().position(|&other| other == id) {
                    list.swap_remove(index);
                }
            }
            Self::Many(set) => {
                set.remove(&id);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(set) => set.is_empty(),
        }
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(NodeId)) {
        match self {
            Self::Few(list) => list.iter().copied().for_each(&mut visit),
            Self::Many(set) => set.iter().copied().for_each(&mut visit),
        }
    }
}

/// One key in the graph.
///
/// `value`, `dependencies`, `changed_at` and `verified_at` describe the last success. A failure lies over it and leaves it
/// as it was, so that a node whose inputs return to what they were is valid again without being computed.
pub(super) struct Node {
    pub(super) key: Arc<dyn AnyKey>,
    /// Hash of the key, kept for when the table grows.
    pub(super) hash: u64,
    pub(super) value: Slot,
    /// In the order of request.
    pub(super) dependencies: Box<[Dependency]>,
    /// Exactly the nodes that list this one in their `dependencies`.
    pub(super) dependents: Dependents,
    /// When the value came to differ from the one before.
    pub(super) changed_at: Stamp,
    /// When the value last agreed with all its dependencies.
    pub(super) verified_at: Stamp,
    /// An evaluation that began no later takes the outcome as it is, even when it is not clean.
    pub(super) settled_at: Stamp,
    pub(super) validity: Validity,
    pub(super) failure: Option<Box<Failure>>,
    /// The computation under way.
    pub(super) flight: Option<Arc<Flight>>,
}

impl Node {
    pub(super) fn new(key: Arc<dyn AnyKey>, hash: u64) -> Self {
        Self {
            key,
            hash,
            value: Slot::Empty,
            dependencies: Box::new([]),
            dependents: Dependents::Few(Vec::new()),
            changed_at: 0,
            verified_at: 0,
            settled_at: 0,
            validity: Validity::Dirty,
            failure: None,
            flight: None,
        }
    }

    /// Whether an evaluation that began at `began` takes the node's outcome as it is.
    pub(super) fn settled(&self, began: Stamp) -> bool {
        match self.validity {
            Validity::Clean => true,
            Validity::Suspect | Validity::Dirty => self.settled_at >= began,
        }
    }
}
