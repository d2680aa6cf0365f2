//! The queue before the machine: who may start now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::resources::{Capacity, Demand};

/// Order in which waiting tasks start: first by `user`, then by `rank`, then by age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    /// What the user says; higher starts earlier. Normally 0.
    pub user: i32,
    /// Length of the critical path from the task's start ([`ranks`](crate::ranks)).
    pub rank: Duration,
}

/// Tasks that are ready and wait for cores and memory, and those that have them.
///
/// The best task that fits starts, so that the machine is not left idle because the very best is large. That task is not
/// overtaken for ever, though: once [`MAX_OVERTAKEN`](Self::MAX_OVERTAKEN) worse ones have started before it, no worse one
/// starts until it fits.
#[derive(Clone, Debug)]
pub struct Admission<T> {
    capacity: Capacity,
    free: Capacity,
    waiting: BTreeMap<Place, Waiting<T>>,
    places: HashMap<T, Place>,
    running: HashMap<T, Demand>,
    submitted: u64,
}

/// Best first.
type Place = (Reverse<Priority>, u64);

#[derive(Clone, Debug)]
struct Waiting<T> {
    task: T,
    demand: Demand,
    overtaken: u32,
}

impl<T: Clone + Eq + Hash> Admission<T> {
    /// How many worse tasks may start before one that does not fit.
    pub const MAX_OVERTAKEN: u32 = 16;

    /// A queue before a machine with nothing running.
    pub fn new(capacity: Capacity) -> Self {
        let capacity = Capacity { cpus: capacity.cpus.max(1), ..capacity };
        Self {
            capacity,
            free: capacity,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            running: HashMap::new(),
            submitted: 0,
        }
    }

    /// Adds a task, or gives a waiting one another demand and priority. Returns whether it waits now; it does not if it runs.
    pub fn submit(&mut self, task: T, demand: Demand, priority: Priority) -> bool {
        if self.running.contains_key(&task) {
            return false;
        }
        let demand = demand.within(self.capacity);
        let before =
            self.places.get(&task).and_then(|place| self.waiting.remove(place).map(|old| (place.1, old.overtaken)));
        let (age, overtaken) = before.unwrap_or_else(|| {
            self.submitted += 1;
            (self.submitted, 0)
        });
        let place = (Reverse(priority), age);
        self.places.insert(task.clone(), place);
        self.waiting.insert(place, Waiting { task, demand, overtaken });
        true
    }

    /// The next task to start; it runs from now on. Call until it returns nothing.
    pub fn start(&mut self) -> Option<T> {
        if self.free.cpus == 0 {
            return None;
        }
        let mut chosen = None;
        for (place, waiting) in &self.waiting {
            if waiting.demand.fits(self.free) {
                chosen = Some(*place);
                break;
            }
            if waiting.overtaken >= Self::MAX_OVERTAKEN {
                return None;
            }
        }
        let chosen = chosen?;
        for (_, better) in self.waiting.range_mut(..chosen) {
            better.overtaken += 1;
        }
        let Waiting { task, demand, .. } = self.waiting.remove(&chosen)?;
        self.places.remove(&task);
        self.free.cpus -= demand.cpus;
        self.free.memory -= demand.memory;
        self.running.insert(task.clone(), demand);
        Some(task)
    }

    /// Gives back what a running task had, or takes a waiting one out of the queue. Returns whether it was there.
    pub fn remove(&mut self, task: &T) -> bool {
        if let Some(demand) = self.running.remove(task) {
            self.free.cpus += demand.cpus;
            self.free.memory += demand.memory;
            return true;
        }
        self.places.remove(task).is_some_and(|place| self.waiting.remove(&place).is_some())
    }

    /// Takes out all waiting tasks, best first.
    pub fn drain(&mut self) -> Vec<T> {
        self.places.clear();
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.task).collect()
    }

    /// What no running task has.
    pub const fn free(&self) -> Capacity {
        self.free
    }

    /// What there is in all.
    pub const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Number of waiting tasks.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Number of running tasks.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { cpus: 4, memory: 100 };

    fn rank(seconds: u64) -> Priority {
        Priority { user: 0, rank: Duration::from_secs(seconds) }
    }

    fn drain(admission: &mut Admission<u32>) -> Vec<u32> {
        std::iter::from_fn(|| admission.start()).collect()
    }

    #[test]
    fn the_longest_way_goes_first_but_the_user_before_it() {
        let mut admission = Admission::new(CAPACITY);
        for (task, priority) in
            [(1, rank(1)), (2, rank(9)), (3, rank(5)), (4, Priority { user: 1, rank: Duration::ZERO })]
        {
            assert!(admission.submit(task, Demand::default(), priority));
        }
        assert_eq!(drain(&mut admission), [4, 2, 3, 1]);
        assert!(!admission.submit(4, Demand::default(), rank(1)), "runs");
    }

    #[test]
    fn what_fits_overtakes_what_does_not_for_a_while() {
        let mut admission = Admission::new(CAPACITY);
        admission.submit(0, Demand { cpus: 1, memory: 60 }, rank(100));
        assert_eq!(drain(&mut admission), [0]);
        admission.submit(1, Demand { cpus: 1, memory: 50 }, rank(50));
        for small in 2..50 {
            admission.submit(small, Demand::default(), rank(1));
        }
        let mut overtook = 0;
        loop {
            let started = drain(&mut admission);
            if started.is_empty() {
                break;
            }
            overtook += started.len();
            for task in started {
                assert!(admission.remove(&task));
            }
        }
        assert_eq!(overtook, usize::try_from(Admission::<u32>::MAX_OVERTAKEN).unwrap());
        admission.remove(&0);
        assert_eq!(admission.start(), Some(1));
    }

    #[test]
    fn what_asks_for_more_than_there_is_runs_alone() {
        let mut admission = Admission::new(CAPACITY);
        admission.submit(1, Demand { cpus: 1, memory: 1000 }, rank(5));
        admission.submit(2, Demand { cpus: 0, memory: 0 }, rank(1));
        assert_eq!(drain(&mut admission), [1]);
        assert_eq!(admission.free(), Capacity { cpus: 0, memory: 0 });
        admission.remove(&1);
        assert_eq!(drain(&mut admission), [2]);
        assert_eq!(admission.free().cpus, 3);
    }

    #[test]
    fn submitting_again_changes_the_place_and_not_the_age() {
        let mut admission = Admission::new(Capacity { cpus: 1, memory: 0 });
        for task in 1..=3 {
            admission.submit(task, Demand::default(), rank(1));
        }
        admission.submit(1, Demand::default(), rank(1));
        admission.submit(3, Demand::default(), rank(2));
        assert_eq!(admission.drain(), [3, 1, 2]);
        assert_eq!(admission.start(), None);
    }
}
