//! What the reports have in common: the critical path, and which parallel slot each task had.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use buildnet_event::TaskName;
use buildnet_history::{BuildRecord, TaskRecord};

/// Event times have milliseconds: a task may seem to begin so many microseconds before the one ended that made room for it.
const RESOLUTION_US: u64 = 1000;

/// When a task began to use a slot, in microseconds after the build's beginning: its command's start, not the wait before it.
fn active_from(task: &TaskRecord) -> u64 {
    task.execute_us.unwrap_or(task.start_us).min(task.finish_us)
}

/// How long a task used a slot, in microseconds: its wall time without the wait for a free one.
pub fn busy_us(task: &TaskRecord) -> u64 {
    let whole = task.summary.duration_us;
    match task.execute_us {
        // The events' milliseconds may cut off what the command was measured to take.
        Some(_) => (task.finish_us - active_from(task)).max(task.summary.execution_us).min(whole),
        None => whole,
    }
}

/// Where a task is drawn on the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Parallel slot, from 0. Tasks of one slot do not overlap.
    pub lane: usize,
    /// Beginning in microseconds after the build's beginning.
    pub start_us: u64,
    /// End in microseconds after the build's beginning.
    pub finish_us: u64,
}

/// What is reckoned from a record. Tasks are named by their index in [`BuildRecord::tasks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The chain of dependencies that took longest, in the order of running.
    pub critical_path: Vec<usize>,
    /// How long its tasks were busy, in microseconds: no number of cores makes the same tasks faster.
    pub critical_us: u64,
    /// Where each task is drawn.
    pub placements: Vec<Placement>,
    /// Number of parallel slots.
    pub lanes: usize,
    /// Recorded dependencies of each task.
    pub dependencies: Vec<Vec<usize>>,
}

impl Analysis {
    /// Reckons what the reports show.
    pub fn of(build: &BuildRecord) -> Self {
        let dependencies = dependencies(&build.tasks);
        let (critical_path, critical_us) = critical_path(&build.tasks, &dependencies);
        let (placements, lanes) = place(&build.tasks);
        Self { critical_path, critical_us, placements, lanes, dependencies }
    }
}

/// Indices of the dependencies that are recorded; instant ones are not, and took no time.
fn dependencies(tasks: &[TaskRecord]) -> Vec<Vec<usize>> {
    let index: HashMap<&TaskName, usize> = tasks.iter().map(|task| &task.summary.task).zip(0..).collect();
    let known =
        |task: &TaskRecord| task.summary.dependencies.iter().filter_map(|name| index.get(name).copied()).collect();
    tasks.iter().map(known).collect()
}

/// The heaviest path through the graph, by busy time. Tasks on a cycle, which no real build has, are left out.
fn critical_path(tasks: &[TaskRecord], dependencies: &[Vec<usize>]) -> (Vec<usize>, u64) {
    let mut dependents = vec![Vec::new(); tasks.len()];
    let mut open: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    for (task, needed) in dependencies.iter().enumerate() {
        for &dependency in needed {
            dependents[dependency].push(task);
        }
    }
    // Longest time until each task ended, and the dependency that it is due to.
    let mut longest: Vec<u64> = tasks.iter().map(busy_us).collect();
    let mut due_to: Vec<Option<usize>> = vec![None; tasks.len()];
    let mut ready: Vec<usize> = (0..tasks.len()).filter(|&task| open[task] == 0).collect();
    let mut last: Option<usize> = None;
    while let Some(task) = ready.pop() {
        if last.is_none_or(|last| (longest[task], Reverse(task)) > (longest[last], Reverse(last))) {
            last = Some(task);
        }
        for &dependent in &dependents[task] {
            let through = longest[task].saturating_add(busy_us(&tasks[dependent]));
            if through > longest[dependent] || (through == longest[dependent] && due_to[dependent] > Some(task)) {
                longest[dependent] = through;
                due_to[dependent] = Some(task);
            }
            open[dependent] -= 1;
            if open[dependent] == 0 {
                ready.push(dependent);
            }
        }
    }
    let total = last.map_or(0, |last| longest[last]);
    let mut path: Vec<usize> = std::iter::successors(last, |&task| due_to[task]).collect();
    path.reverse();
    (path, total)
}

/// Gives each task the lowest slot that is free when it begins.
fn place(tasks: &[TaskRecord]) -> (Vec<Placement>, usize) {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&task| (active_from(&tasks[task]), tasks[task].finish_us));
    let mut placements = vec![Placement::default(); tasks.len()];
    let mut free_at: Vec<u64> = Vec::new();
    let mut free: BTreeSet<usize> = BTreeSet::new();
    let mut busy: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for task in order {
        let (start_us, finish_us) = (active_from(&tasks[task]), tasks[task].finish_us);
        while let Some(&Reverse((until, lane))) = busy.peek()
            && until <= start_us.saturating_add(RESOLUTION_US)
        {
            busy.pop();
            free.insert(lane);
        }
        let lane = free.pop_first().unwrap_or_else(|| {
            free_at.push(0);
            free_at.len() - 1
        });
        let start_us = start_us.max(free_at[lane]);
        let finish_us = finish_us.max(start_us);
        free_at[lane] = finish_us;
        busy.push(Reverse((finish_us, lane)));
        placements[task] = Placement { lane, start_us, finish_us };
    }
    (placements, free_at.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::task;

    fn path(tasks: &[TaskRecord]) -> (Vec<String>, u64) {
        let (path, total) = critical_path(tasks, &dependencies(tasks));
        (path.into_iter().map(|index| tasks[index].summary.task.package.to_string()).collect(), total)
    }

    #[test]
    fn the_critical_path_follows_dependencies_and_not_the_clock() {
        let tasks = [
            task("long-alone", 0, 50, &[]),
            task("core", 0, 30, &[]),
            task("ui", 40, 60, &["core"]),
            task("plugin", 30, 34, &["core", "not recorded"]),
            task("api", 60, 75, &["ui", "plugin", "core"]),
        ];
        assert_eq!(path(&tasks), (vec!["core".to_owned(), "ui".to_owned(), "api".to_owned()], 65));
        assert_eq!(path(&[]), (vec![], 0));
    }

    #[test]
    fn waiting_for_a_slot_is_not_work() {
        let mut waited = task("b", 0, 90_000, &["a"]);
        waited.execute_us = Some(60_000);
        waited.summary.execution_us = 29_000;
        let tasks = [task("a", 0, 40_000, &[]), waited, task("c", 0, 60_000, &[])];
        assert_eq!(path(&tasks), (vec!["a".to_owned(), "b".to_owned()], 70_000));
        let (placements, lanes) = place(&tasks);
        assert_eq!((placements[1].start_us, placements[1].finish_us, lanes), (60_000, 90_000, 2));
    }

    #[test]
    fn a_cycle_in_a_record_harms_nothing() {
        let tasks = [task("a", 0, 5, &["b"]), task("b", 0, 5, &["a"]), task("c", 0, 3, &[]), task("d", 0, 9, &["d"])];
        assert_eq!(path(&tasks), (vec!["c".to_owned()], 3));
    }

    #[test]
    fn a_chain_of_100_000_tasks_needs_no_deep_stack() {
        let names: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let mut tasks = vec![task(&names[0], 0, 1, &[])];
        tasks.extend(names.windows(2).map(|pair| task(&pair[1], 0, 1, &[&pair[0]])));
        assert_eq!(critical_path(&tasks, &dependencies(&tasks)).1, 100_000);
    }

    #[test]
    fn tasks_of_one_slot_do_not_overlap() {
        let tasks = [
            task("a", 0, 10_000, &[]),
            task("b", 0, 4_000, &[]),
            task("c", 3_200, 9_000, &["b"]),
            task("d", 5_000, 6_000, &[]),
            task("e", 10_000, 11_000, &[]),
        ];
        let (placements, lanes) = place(&tasks);
        let drawn: Vec<_> = placements.iter().map(|place| (place.lane, place.start_us, place.finish_us)).collect();
        assert_eq!(drawn, [(1, 0, 10_000), (0, 0, 4_000), (0, 4_000, 9_000), (2, 5_000, 6_000), (0, 10_000, 11_000)]);
        assert_eq!(lanes, 3);
    }
}
