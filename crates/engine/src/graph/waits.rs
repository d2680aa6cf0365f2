//! Which computation waits for which, and the cycles in that.
//!
//! A wait that closes a small cycle is refused at once. Searching everything below on every wait would be quadratic, so the
//! search gives up after [`EAGER`] nodes, and a sweep over all waits, at most linear in their number, finds the rest.

use std::sync::Arc;

use hashbrown::HashMap;

use super::flight::Edge;
use super::node::NodeId;

/// Nodes that are searched before a wait begins.
const EAGER: usize = 32;

/// All waits between computations.
#[derive(Default)]
pub(super) struct Waits {
    edges: HashMap<NodeId, HashMap<NodeId, (u32, Arc<Edge>)>>,
    /// Whether a wait began whose search gave up, since the last sweep.
    unchecked: bool,
}

impl Waits {
    /// Records that `waiting` waits for `target`, or names the cycle that this would close: from `waiting` over `target` to
    /// the last before `waiting`.
    pub(super) fn insert(&mut self, waiting: NodeId, target: NodeId) -> Result<Arc<Edge>, Vec<NodeId>> {
        if waiting == target {
            return Err(vec![waiting]);
        }
        match self.path(target, waiting, EAGER) {
            Search::Found(path) => {
                let mut cycle = vec![waiting];
                cycle.extend(path);
                return Err(cycle);
            }
            Search::GaveUp => self.unchecked = true,
            Search::Nothing => {}
        }
        let entry = self.edges.entry(waiting).or_default().entry(target).or_insert_with(|| (0, Arc::new(Edge::new())));
        entry.0 += 1;
        Ok(entry.1.clone())
    }

    pub(super) fn remove(&mut self, waiting: NodeId, target: NodeId) {
        let Some(targets) = self.edges.get_mut(&waiting) else { return };
        if let Some(entry) = targets.get_mut(&target) {
            entry.0 -= 1;
            if entry.0 == 0 {
                targets.remove(&target);
            }
        }
        if targets.is_empty() {
            self.edges.remove(&waiting);
        }
    }

    /// A path of waits from `from` to the node before `to`.
    fn path(&self, from: NodeId, to: NodeId, limit: usize) -> Search {
        if !self.edges.contains_key(&from) {
            return Search::Nothing;
        }
        let mut before: HashMap<NodeId, NodeId> = HashMap::new();
        let mut stack = vec![from];
        while let Some(node) = stack.pop() {
            let Some(targets) = self.edges.get(&node) else { continue };
            if targets.contains_key(&to) {
                let mut path = vec![node];
                let mut node = node;
                while node != from {
                    node = before[&node];
                    path.push(node);
                }
                path.reverse();
                return Search::Found(path);
            }
            for &target in targets.keys() {
                if target != from && !before.contains_key(&target) {
                    before.insert(target, node);
                    stack.push(target);
                }
            }
            if before.len() > limit {
                return Search::GaveUp;
            }
        }
        Search::Nothing
    }

    /// Searches all waits, if any is unchecked, and returns one cycle with the edge at which to break it: the edge from its
    /// first node to its second. To be called until it returns nothing.
    pub(super) fn sweep(&mut self) -> Option<(Vec<NodeId>, Arc<Edge>)> {
        if !self.unchecked {
            return None;
        }
        // Depth first, with the path kept; a node is done when all below it was searched.
        let mut done: HashMap<NodeId, bool> = HashMap::new();
        for &start in self.edges.keys() {
            if done.contains_key(&start) {
                continue;
            }
            let mut path: Vec<(NodeId, Vec<NodeId>)> = vec![(start, self.targets(start))];
            done.insert(start, false);
            while let Some((node, targets)) = path.last_mut() {
                let Some(target) = targets.pop() else {
                    done.insert(*node, true);
                    path.pop();
                    continue;
                };
                match done.get(&target) {
                    Some(true) => {}
                    Some(false) => {
                        let first = path.iter().position(|(on_path, _)| *on_path == target)?;
                        let cycle: Vec<NodeId> = path[first..].iter().map(|(node, _)| *node).collect();
                        let second = cycle[1 % cycle.len()];
                        let edge = self.edges[&cycle[0]][&second].1.clone();
                        return Some((cycle, edge));
                    }
                    None => {
                        done.insert(target, false);
                        let below = self.targets(target);
                        path.push((target, below));
                    }
                }
            }
        }
        self.unchecked = false;
        None
    }

    /// What `node` waits for, leaving out waits that are broken already.
    fn targets(&self, node: NodeId) -> Vec<NodeId> {
        let targets = self.edges.get(&node).into_iter().flatten();
        targets.filter(|(_, (_, edge))| edge.failure.get().is_none()).map(|(&target, _)| target).collect()
    }
}

enum Search {
    Found(Vec<NodeId>),
    Nothing,
    GaveUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_the_wait_that_closes_a_cycle() {
        let mut waits = Waits::default();
        assert!(waits.insert(1, 2).is_ok());
        assert!(waits.insert(2, 3).is_ok());
        assert_eq!(waits.insert(3, 1).err(), Some(vec![3, 1, 2]));
        assert_eq!(waits.insert(4, 4).err(), Some(vec![4]));
        waits.remove(2, 3);
        assert!(waits.insert(3, 1).is_ok());
        assert!(waits.sweep().is_none());
    }

    #[test]
    fn a_sweep_finds_what_the_eager_search_gave_up_on() {
        let mut waits = Waits::default();
        let last = 3 * u32::try_from(EAGER).unwrap();
        for node in (1..last).rev() {
            assert!(waits.insert(node - 1, node).is_ok());
        }
        assert!(waits.insert(last - 1, 0).is_ok(), "too far away to be seen at once");
        let (cycle, edge) = waits.sweep().unwrap();
        assert_eq!(cycle.len(), usize::try_from(last).unwrap());
        edge.break_with(crate::graph::Failure::Cancelled);
        assert!(waits.sweep().is_none());
    }
}
