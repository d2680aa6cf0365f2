//! Priority by critical path.
//!
//! The rank of a task is the time from its start to the end of the last task that waits for it, if nothing else stood in the
//! way: its own duration and the highest rank of its dependents (the upward rank of the HEFT heuristic: Topcuoglu, Hariri,
//! Wu, "Performance-effective and low-complexity task scheduling for heterogeneous computing", 2002).

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

/// Expected durations.
#[derive(Clone, Debug)]
pub struct Durations<T> {
    known: HashMap<T, Duration>,
    median: Duration,
}

impl<T: Eq + Hash> Durations<T> {
    /// Expected when nothing at all is known.
    const DEFAULT: Duration = Duration::from_secs(1);

    /// From what history knows.
    pub fn new(known: impl IntoIterator<Item = (T, Duration)>) -> Self {
        let known: HashMap<T, Duration> = known.into_iter().collect();
        let mut durations: Vec<Duration> = known.values().copied().collect();
        let middle = durations.len() / 2;
        let median = if durations.is_empty() { Self::DEFAULT } else { *durations.select_nth_unstable(middle).1 };
        Self { known, median }
    }

    /// The expected duration of `task`: what is known, else the caller's guess, for example from the package's size, else the
    /// median of all that is known.
    pub fn expected(&self, task: &T, guess: Option<Duration>) -> Duration {
        self.known.get(task).copied().or(guess).unwrap_or(self.median)
    }
}

/// Tasks that wait for each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dependency cycle: {}", Circle(.tasks))]
pub struct CycleError<T: fmt::Display> {
    /// Each depends on the next, and the last on the first.
    pub tasks: Vec<T>,
}

struct Circle<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Circle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in self.0 {
            write!(f, "{task} -> ")?;
        }
        self.0.first().map_or(Ok(()), |first| first.fmt(f))
    }
}

/// The rank of each task. `tasks` holds each task with its dependencies; a dependency that is not itself in `tasks` is taken
/// as done. Time linear in tasks and dependencies.
pub fn ranks<'t, T, D>(
    tasks: impl IntoIterator<Item = (&'t T, D)>,
    mut duration: impl FnMut(&T) -> Duration,
) -> Result<HashMap<T, Duration>, CycleError<T>>
where
    T: Clone + Eq + Hash + fmt::Display + 't,
    D: IntoIterator<Item = &'t T>,
{
    let tasks: Vec<(&T, D)> = tasks.into_iter().collect();
    let places: HashMap<&T, usize> = tasks.iter().enumerate().map(|(place, (task, _))| (*task, place)).collect();
    let names: Vec<&T> = tasks.iter().map(|(task, _)| *task).collect();
    let dependencies: Vec<Vec<usize>> = tasks
        .into_iter()
        .map(|(_, dependencies)| dependencies.into_iter().filter_map(|name| places.get(name).copied()).collect())
        .collect();
    let mut waiting = vec![0_usize; names.len()];
    for &dependency in dependencies.iter().flatten() {
        waiting[dependency] += 1;
    }
    // From the tasks nobody waits for downwards: a task's rank is final when those of all its dependents are.
    let mut longest = vec![Duration::ZERO; names.len()];
    let mut ready: Vec<usize> = (0..names.len()).filter(|&task| waiting[task] == 0).collect();
    let mut ranks = HashMap::with_capacity(names.len());
    while let Some(task) = ready.pop() {
        let rank = longest[task].saturating_add(duration(names[task]));
        ranks.insert(names[task].clone(), rank);
        for &dependency in &dependencies[task] {
            longest[dependency] = longest[dependency].max(rank);
            waiting[dependency] -= 1;
            if waiting[dependency] == 0 {
                ready.push(dependency);
            }
        }
    }
    if ranks.len() == names.len() {
        return Ok(ranks);
    }
    Err(CycleError { tasks: circle(&dependencies, &waiting).into_iter().map(|task| names[task].clone()).collect() })
}

/// A cycle among the tasks that somebody still waits for. Each of these has such a dependent, so that walking against the
/// arrows comes back to where it was.
fn circle(dependencies: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let mut dependent = vec![None; waiting.len()];
    for (task, dependencies) in dependencies.iter().enumerate() {
        if waiting[task] > 0 {
            for &dependency in dependencies {
                dependent[dependency] = Some(task);
            }
        }
    }
    let mut met = vec![false; waiting.len()];
    let mut task = waiting.iter().position(|&count| count > 0);
    while let Some(at) = task.filter(|&at| !std::mem::replace(&mut met[at], true)) {
        task = dependent[at];
    }
    let mut circle = Vec::new();
    let start = task;
    while let Some(at) = task {
        circle.push(at);
        task = dependent[at].filter(|&next| Some(next) != start);
    }
    // Walked from dependency to dependent.
    circle.reverse();
    circle
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn graph(edges: &[(&'static str, &[&'static str])]) -> BTreeMap<&'static str, Vec<&'static str>> {
        edges.iter().map(|(task, dependencies)| (*task, dependencies.to_vec())).collect()
    }

    fn seconds(task: &&str) -> Duration {
        Duration::from_secs(task.len() as u64)
    }

    #[test]
    fn a_rank_is_the_longest_way_to_the_end() {
        let graph = graph(&[("a", &[]), ("bbb", &["a"]), ("cc", &["a", "gone"]), ("d", &["bbb", "cc"])]);
        let ranks = ranks(&graph, seconds).unwrap();
        let ranks: BTreeMap<_, _> = ranks.into_iter().map(|(task, rank)| (task, rank.as_secs())).collect();
        assert_eq!(ranks, BTreeMap::from([("a", 5), ("bbb", 4), ("cc", 3), ("d", 1)]));
    }

    #[test]
    fn a_cycle_is_named() {
        let graph = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("in", &["a"]), ("out", &[])]);
        let error = ranks(&graph, seconds).unwrap_err();
        let mut tasks = error.tasks.clone();
        tasks.sort_unstable();
        assert_eq!(tasks, ["a", "b", "c"]);
        for (task, next) in error.tasks.iter().zip(error.tasks.iter().cycle().skip(1)) {
            assert!(graph[task].contains(next), "{error}");
        }
        let alone = ranks(&self::graph(&[("a", &["a"])]), seconds).unwrap_err();
        assert_eq!(alone.to_string(), "dependency cycle: a -> a");
    }

    #[test]
    fn what_is_not_known_is_guessed_or_taken_from_the_middle() {
        let durations =
            Durations::new([("a", 1), ("b", 5), ("c", 100)].map(|(task, s)| (task, Duration::from_secs(s))));
        let expected = |task, guess: Option<u64>| durations.expected(&task, guess.map(Duration::from_secs)).as_secs();
        assert_eq!(expected("c", Some(3)), 100);
        assert_eq!(expected("d", Some(3)), 3);
        assert_eq!(expected("d", None), 5);
        assert_eq!(Durations::<&str>::new([]).expected(&"d", None), Duration::from_secs(1));
    }
}
