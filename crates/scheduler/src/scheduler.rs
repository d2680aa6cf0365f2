//! Tasks with dependencies, from the first that is ready to the last that is done.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::admission::{Admission, Priority};
use crate::rank::CycleError;
use crate::resources::{Capacity, Demand};
use crate::retry::{Outcome, RetryPolicy};

/// What happens to the others when a task fails for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Nothing new starts; what runs is left to the caller.
    #[default]
    FailFast,
    /// Everything that does not depend on it goes on.
    KeepGoing,
}

/// A task as it is added.
#[derive(Clone, Debug)]
pub struct Task<T> {
    /// Tasks added before that must have succeeded first.
    pub dependencies: Vec<T>,
    /// What it takes while it runs.
    pub demand: Demand,
    /// How long it is expected to run.
    pub duration: Duration,
    /// What the user says; passed on to what it depends on.
    pub user: i32,
    /// How often it may be retried when the environment fails.
    pub retries: u32,
}

impl<T> Task<T> {
    /// One core, no dependencies, normal priority, two retries.
    pub fn new(duration: Duration) -> Self {
        Self { dependencies: Vec::new(), demand: Demand::default(), duration, user: 0, retries: 2 }
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for dependencies.
    Blocked,
    /// Waits for cores and memory.
    Ready,
    /// Runs.
    Running,
    /// Waits for its next attempt.
    Delayed,
    /// Succeeded.
    Done,
    /// Failed for good.
    Failed,
    /// Never ran, because a dependency failed or nothing new starts any more.
    Skipped,
}

impl Status {
    /// Whether it stays so.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Skipped)
    }
}

/// What follows from the end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aftermath<T> {
    /// When the task is ready again, if it is retried.
    pub retry_at: Option<Duration>,
    /// Tasks that will not run because of this, in no order.
    pub skipped: Vec<T>,
}

/// A task or dependency that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError<T: fmt::Display> {
    /// No such task was added.
    #[error("unknown task {0}")]
    Unknown(T),
    /// Added twice.
    #[error("task {0} was added before")]
    Duplicate(T),
    /// It has started, so it can wait for nothing more.
    #[error("task {0} has started")]
    Started(T),
    /// It does not run, so it cannot end.
    #[error("task {0} is not running")]
    NotRunning(T),
    /// The dependency would close a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError<T>),
}

/// Decides which task starts when. The caller starts what [`start`](Self::start) returns and reports ends with
/// [`finish`](Self::finish).
#[derive(Clone, Debug)]
pub struct Scheduler<T> {
    entries: HashMap<T, Entry<T>>,
    admission: Admission<T>,
    /// Tasks that wait for their next attempt, by time.
    delayed: BTreeMap<Duration, BTreeSet<u64>>,
    by_number: HashMap<u64, T>,
    retry: RetryPolicy,
    failure: FailurePolicy,
    stopped: bool,
    unfinished: usize,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    /// In the order of adding; tells tasks apart in the jitter of retries.
    number: u64,
    dependencies: Vec<T>,
    dependents: Vec<T>,
    /// Dependencies that are not done.
    missing: usize,
    demand: Demand,
    duration: Duration,
    priority: Priority,
    retries: u32,
    attempts: u32,
    status: Status,
}

impl<T: Clone + Eq + Hash + fmt::Display> Scheduler<T> {
    /// No tasks.
    pub fn new(capacity: Capacity, retry: RetryPolicy, failure: FailurePolicy) -> Self {
        Self {
            entries: HashMap::new(),
            admission: Admission::new(capacity),
            delayed: BTreeMap::new(),
            by_number: HashMap::new(),
            retry,
            failure,
            stopped: false,
            unfinished: 0,
        }
    }

    /// Adds a task, at any time. It is skipped at once if a dependency has failed.
    pub fn add(&mut self, name: T, task: Task<T>) -> Result<Status, TaskError<T>> {
        if self.entries.contains_key(&name) {
            return Err(TaskError::Duplicate(name));
        }
        if let Some(unknown) = task.dependencies.iter().find(|dependency| !self.entries.contains_key(dependency)) {
            return Err(TaskError::Unknown(unknown.clone()));
        }
        let number = self.entries.len() as u64;
        self.by_number.insert(number, name.clone());
        self.unfinished += 1;
        let entry = Entry {
            number,
            dependencies: Vec::new(),
            dependents: Vec::new(),
            missing: 0,
            demand: task.demand,
            duration: task.duration,
            priority: Priority { user: task.user, rank: task.duration },
            retries: task.retries,
            attempts: 0,
            status: Status::Blocked,
        };
        self.entries.insert(name.clone(), entry);
        for dependency in task.dependencies {
            self.link(&name, &dependency);
        }
        if self.stopped {
            self.skip(&name);
        }
        self.release(&name);
        Ok(self.entries[&name].status)
    }

    /// Has a task that has not started wait for another one too.
    pub fn depend(&mut self, name: &T, on: &T) -> Result<(), TaskError<T>> {
        let known = |task: &T| self.entries.get(task).ok_or_else(|| TaskError::Unknown(task.clone()));
        known(on)?;
        match known(name)?.status {
            Status::Blocked | Status::Ready => {}
            _ => return Err(TaskError::Started(name.clone())),
        }
        if let Some(tasks) = self.path(on, name) {
            return Err(CycleError { tasks }.into());
        }
        self.link(name, on);
        let entry = &self.entries[name];
        if entry.status == Status::Ready && entry.missing > 0 {
            self.admission.remove(name);
            self.set(name, Status::Blocked);
        }
        Ok(())
    }

    /// The next task to start at `now`; it runs from then on. Call until it returns nothing.
    pub fn start(&mut self, now: Duration) -> Option<T> {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| *entry.key() <= now) {
            for number in entry.remove() {
                let name = self.by_number[&number].clone();
                if self.entries[&name].status == Status::Delayed {
                    self.enqueue(&name);
                }
            }
        }
        let name = self.admission.start()?;
        self.set(&name, Status::Running);
        Some(name)
    }

    /// When [`start`](Self::start) may have something to start without any task ending: the time of the next retry.
    pub fn wake_at(&self) -> Option<Duration> {
        self.delayed.keys().next().copied()
    }

    /// Reports the end of an attempt at `now`.
    pub fn finish(&mut self, name: &T, outcome: Outcome, now: Duration) -> Result<Aftermath<T>, TaskError<T>> {
        let entry = self.entries.get_mut(name).ok_or_else(|| TaskError::Unknown(name.clone()))?;
        if entry.status != Status::Running {
            return Err(TaskError::NotRunning(name.clone()));
        }
        entry.attempts += 1;
        let (attempts, retries, number) = (entry.attempts, entry.retries, entry.number);
        self.admission.remove(name);
        let mut aftermath = Aftermath { retry_at: None, skipped: Vec::new() };
        if outcome == Outcome::Succeeded {
            self.set(name, Status::Done);
            for dependent in self.entries[name].dependents.clone() {
                if let Some(entry) = self.entries.get_mut(&dependent) {
                    entry.missing -= 1;
                }
                self.release(&dependent);
            }
        } else if let Some(delay) = self.retry.retry(outcome, attempts, retries, number).filter(|_| !self.stopped) {
            let at = now.saturating_add(delay);
            self.delayed.entry(at).or_default().insert(number);
            self.set(name, Status::Delayed);
            aftermath.retry_at = Some(at);
        } else {
            self.set(name, Status::Failed);
            for dependent in self.entries[name].dependents.clone() {
                aftermath.skipped.extend(self.skip(&dependent));
            }
            if self.failure == FailurePolicy::FailFast {
                aftermath.skipped.extend(self.stop());
            }
        }
        Ok(aftermath)
    }

    /// Starts nothing new any more: everything that does not run is skipped. Returns what.
    pub fn stop(&mut self) -> Vec<T> {
        self.stopped = true;
        self.delayed.clear();
        self.admission.drain();
        let waits = |entry: &Entry<T>| matches!(entry.status, Status::Blocked | Status::Ready | Status::Delayed);
        let waiting: Vec<T> =
            self.entries.iter().filter(|(_, entry)| waits(entry)).map(|(name, _)| name.clone()).collect();
        for name in &waiting {
            self.set(name, Status::Skipped);
        }
        waiting
    }

    /// Where a task stands.
    pub fn status(&self, name: &T) -> Option<Status> {
        self.entries.get(name).map(|entry| entry.status)
    }

    /// Whether every task has come to its end.
    pub const fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// What no running task has.
    pub const fn free(&self) -> Capacity {
        self.admission.free()
    }

    fn set(&mut self, name: &T, status: Status) {
        if let Some(entry) = self.entries.get_mut(name) {
            self.unfinished -= usize::from(status.is_final() && !entry.status.is_final());
            entry.status = status;
        }
    }

    /// Enters a dependency between known tasks that closes no cycle, and raises what the dependency waits on.
    fn link(&mut self, name: &T, dependency: &T) {
        let status = self.entries[dependency].status;
        if self.entries[name].dependencies.contains(dependency) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(name) {
            entry.dependencies.push(dependency.clone());
            entry.missing += usize::from(status != Status::Done);
        }
        if let Some(entry) = self.entries.get_mut(dependency) {
            entry.dependents.push(name.clone());
        }
        if matches!(status, Status::Failed | Status::Skipped) {
            self.skip(name);
        }
        self.raise(name);
    }

    /// Passes a task's priority on to what it depends on: user's priority as it is, rank with the dependency's duration.
    fn raise(&mut self, name: &T) {
        let mut queue = VecDeque::from([name.clone()]);
        while let Some(name) = queue.pop_front() {
            let Priority { user, rank } = self.entries[&name].priority;
            for dependency in self.entries[&name].dependencies.clone() {
                let Some(entry) = self.entries.get_mut(&dependency).filter(|entry| !entry.status.is_final()) else {
                    continue;
                };
                let raised = Priority {
                    user: entry.priority.user.max(user),
                    rank: entry.priority.rank.max(rank.saturating_add(entry.duration)),
                };
                if raised != entry.priority {
                    entry.priority = raised;
                    if entry.status == Status::Ready {
                        self.admission.submit(dependency.clone(), entry.demand, raised);
                    }
                    queue.push_back(dependency);
                }
            }
        }
    }

    /// Queues a blocked task if nothing is missing any more.
    fn release(&mut self, name: &T) {
        let entry = &self.entries[name];
        if entry.status == Status::Blocked && entry.missing == 0 {
            self.enqueue(name);
        }
    }

    fn enqueue(&mut self, name: &T) {
        let entry = &self.entries[name];
        self.admission.submit(name.clone(), entry.demand, entry.priority);
        self.set(name, Status::Ready);
    }

    /// Skips a task that waits, and all that depend on it. Returns which.
    fn skip(&mut self, name: &T) -> Vec<T> {
        let mut skipped = Vec::new();
        let mut stack = vec![name.clone()];
        while let Some(name) = stack.pop() {
            if self.entries[&name].status.is_final() {
                continue;
            }
            self.admission.remove(&name);
            self.set(&name, Status::Skipped);
            stack.extend(self.entries[&name].dependents.iter().cloned());
            skipped.push(name);
        }
        skipped
    }

    /// The tasks from `from` to `to` along dependencies, if there is a way; both included.
    fn path(&self, from: &T, to: &T) -> Option<Vec<T>> {
        let mut before: HashMap<&T, Option<&T>> = HashMap::from([(from, None)]);
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            if at == to {
                let mut path = vec![at.clone()];
                let mut step = before[at];
                while let Some(name) = step {
                    path.push(name.clone());
                    step = before[name];
                }
                // The wanted dependency leads from the last back to the first.
                path.reverse();
                return Some(path);
            }
            for dependency in &self.entries[at].dependencies {
                if !before.contains_key(dependency) {
                    before.insert(dependency, Some(at));
                    stack.push(dependency);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn scheduler(cpus: u32, failure: FailurePolicy) -> Scheduler<&'static str> {
        Scheduler::new(Capacity { cpus, memory: 0 }, RetryPolicy::default(), failure)
    }

    fn task(dependencies: &[&'static str]) -> Task<&'static str> {
        Task { dependencies: dependencies.to_vec(), ..Task::new(SECOND) }
    }

    fn start(scheduler: &mut Scheduler<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| scheduler.start(Duration::ZERO)).collect()
    }

    fn diamond(failure: FailurePolicy) -> Scheduler<&'static str> {
        let mut scheduler = scheduler(2, failure);
        for (name, dependencies) in [("a", &[][..]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &[])] {
            scheduler.add(name, task(dependencies)).unwrap();
        }
        scheduler
    }

    #[test]
    fn dependencies_come_first_and_the_critical_path_before_the_rest() {
        let mut scheduler = diamond(FailurePolicy::FailFast);
        assert_eq!(start(&mut scheduler), ["a", "e"]);
        scheduler.finish(&"a", Outcome::Succeeded, SECOND).unwrap();
        assert_eq!(start(&mut scheduler), ["b"]);
        scheduler.finish(&"e", Outcome::Succeeded, SECOND).unwrap();
        assert_eq!(start(&mut scheduler), ["c"]);
        for name in ["b", "c"] {
            scheduler.finish(&name, Outcome::Succeeded, SECOND).unwrap();
        }
        assert_eq!(start(&mut scheduler), ["d"]);
        assert!(!scheduler.is_finished());
        scheduler.finish(&"d", Outcome::Succeeded, SECOND).unwrap();
        assert!(scheduler.is_finished());
    }

    #[test]
    fn keep_going_skips_only_what_depends_on_the_failure() {
        let mut scheduler = diamond(FailurePolicy::KeepGoing);
        start(&mut scheduler);
        scheduler.finish(&"a", Outcome::Succeeded, SECOND).unwrap();
        assert_eq!(start(&mut scheduler), ["b"]);
        let aftermath = scheduler.finish(&"b", Outcome::Failed, SECOND).unwrap();
        assert_eq!(aftermath, Aftermath { retry_at: None, skipped: vec!["d"] });
        assert_eq!(start(&mut scheduler), ["c"]);
        assert_eq!(scheduler.add("f", task(&["d"])), Ok(Status::Skipped));
    }

    #[test]
    fn fail_fast_starts_nothing_more() {
        let mut scheduler = diamond(FailurePolicy::FailFast);
        start(&mut scheduler);
        let mut skipped = scheduler.finish(&"e", Outcome::Failed, SECOND).unwrap().skipped;
        skipped.sort_unstable();
        assert_eq!(skipped, ["b", "c", "d"]);
        assert_eq!(scheduler.status(&"a"), Some(Status::Running));
        scheduler.finish(&"a", Outcome::Succeeded, SECOND).unwrap();
        assert_eq!(start(&mut scheduler), [""; 0]);
        assert!(scheduler.is_finished());
        assert_eq!(scheduler.add("late", task(&[])), Ok(Status::Skipped));
    }

    #[test]
    fn the_environment_gets_another_chance_after_a_while() {
        let mut scheduler = scheduler(1, FailurePolicy::FailFast);
        scheduler.add("a", Task { retries: 1, ..task(&[]) }).unwrap();
        assert_eq!(start(&mut scheduler), ["a"]);
        let at = scheduler.finish(&"a", Outcome::EnvironmentFailed, SECOND).unwrap().retry_at.unwrap();
        assert!(at > SECOND);
        assert_eq!((scheduler.wake_at(), scheduler.status(&"a")), (Some(at), Some(Status::Delayed)));
        assert_eq!(scheduler.start(at.saturating_sub(Duration::from_nanos(1))), None);
        assert_eq!(scheduler.start(at), Some("a"));
        assert_eq!(scheduler.finish(&"a", Outcome::EnvironmentFailed, at).unwrap().retry_at, None);
        assert_eq!(scheduler.status(&"a"), Some(Status::Failed));
    }

    #[test]
    fn what_the_user_wants_first_pulls_along_what_it_needs() {
        let mut scheduler = scheduler(1, FailurePolicy::FailFast);
        for name in ["other", "needed"] {
            scheduler.add(name, Task { duration: SECOND * if name == "other" { 9 } else { 1 }, ..task(&[]) }).unwrap();
        }
        scheduler.add("urgent", Task { user: 1, ..task(&["needed"]) }).unwrap();
        assert_eq!(start(&mut scheduler), ["needed"]);
    }

    #[test]
    fn dependencies_found_later_hold_a_task_back() {
        let mut scheduler = scheduler(4, FailurePolicy::FailFast);
        for name in ["a", "b", "c"] {
            scheduler.add(name, task(&[])).unwrap();
        }
        scheduler.depend(&"a", &"b").unwrap();
        scheduler.depend(&"b", &"c").unwrap();
        let cycle = scheduler.depend(&"c", &"a").unwrap_err();
        assert_eq!(cycle.to_string(), "dependency cycle: a -> b -> c -> a");
        assert_eq!(start(&mut scheduler), ["c"]);
        assert_eq!(scheduler.depend(&"c", &"a"), Err(TaskError::Started("c")));
        assert_eq!(scheduler.finish(&"a", Outcome::Succeeded, SECOND), Err(TaskError::NotRunning("a")));
        assert_eq!(scheduler.add("a", task(&[])), Err(TaskError::Duplicate("a")));
        assert_eq!(scheduler.add("x", task(&["y"])), Err(TaskError::Unknown("y")));
    }
}
