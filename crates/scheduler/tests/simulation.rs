//! Random task graphs on a simulated machine: nothing overcommitted, nothing forgotten, and never far from the best.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use buildnet_scheduler::{
    Admission, Capacity, Demand, FailurePolicy, Outcome, Priority, RetryPolicy, Scheduler, Status, Task, ranks,
};
use proptest::prelude::*;

/// A task of the simulation; depends on tasks before it.
#[derive(Clone, Debug)]
struct Job {
    dependencies: Vec<usize>,
    demand: Demand,
    expected: u64,
    /// How long it really takes, in milliseconds.
    actual: u64,
    /// Outcomes of the first attempts; those after succeed.
    outcomes: Vec<Outcome>,
}

impl Job {
    fn outcome(&self, attempt: usize) -> Outcome {
        self.outcomes.get(attempt).copied().unwrap_or(Outcome::Succeeded)
    }
}

const RETRIES: u32 = 2;

fn jobs(demand: impl Strategy<Value = Demand> + Clone, outcomes: bool) -> impl Strategy<Value = Vec<Job>> {
    let outcome =
        prop_oneof![8 => Just(Outcome::Succeeded), 1 => Just(Outcome::Failed), 4 => Just(Outcome::EnvironmentFailed)];
    let job = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        demand,
        1..1000_u64,
        // Expectations are off by up to four times, either way.
        -2.0..2.0_f64,
        prop::collection::vec(outcome, if outcomes { 0..4 } else { 0..1 }),
    );
    prop::collection::vec(job, 1..80).prop_map(|jobs| {
        let numbered = jobs.into_iter().enumerate();
        numbered
            .map(|(number, (dependencies, demand, expected, noise, outcomes))| {
                // Mostly on near ones, so that there are long chains as well as wide layers.
                let near = |index: prop::sample::Index| number - 1 - index.index(number.min(12));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "small and positive"
                )]
                let actual = (expected as f64 * noise.exp2()).max(1.0) as u64;
                let dependencies = if number == 0 { Vec::new() } else { dependencies.into_iter().map(near).collect() };
                Job { dependencies, demand, expected, actual, outcomes }
            })
            .collect()
    })
}

struct Simulated {
    makespan: Duration,
    attempts: Vec<usize>,
    statuses: Vec<Status>,
}

/// Runs the jobs; half of them are added while others run.
fn simulate(jobs: &[Job], capacity: Capacity, failure: FailurePolicy) -> Result<Simulated, TestCaseError> {
    let retry = RetryPolicy { seed: 1, ..RetryPolicy::default() };
    let mut scheduler = Scheduler::new(capacity, retry, failure);
    let mut now = Duration::ZERO;
    let mut ends = BinaryHeap::new();
    let mut running: BTreeMap<usize, Demand> = BTreeMap::new();
    let mut attempts = vec![0; jobs.len()];
    let mut added = 0;
    let mut makespan = now;
    loop {
        let upto = if added == 0 { jobs.len().div_ceil(2) } else { (added + 1).min(jobs.len()) };
        for (number, job) in jobs.iter().enumerate().take(upto).skip(added) {
            let task = Task {
                dependencies: job.dependencies.clone(),
                demand: job.demand,
                duration: Duration::from_millis(job.expected),
                user: 0,
                retries: RETRIES,
            };
            scheduler.add(number, task).unwrap();
        }
        added = upto;
        while let Some(number) = scheduler.start(now) {
            for dependency in &jobs[number].dependencies {
                prop_assert_eq!(scheduler.status(dependency), Some(Status::Done));
            }
            prop_assert!(running.insert(number, jobs[number].demand).is_none());
            ends.push(Reverse((now + Duration::from_millis(jobs[number].actual), number)));
            let taken = running.values().map(|demand| (demand.cpus, demand.memory));
            let (cpus, memory) = taken.fold((0, 0), |sum, demand| (sum.0 + demand.0, sum.1 + demand.1));
            prop_assert!(running.len() == 1 || cpus <= capacity.cpus && memory <= capacity.memory, "{running:?}");
        }
        let end = ends.peek().map(|Reverse((end, _))| *end);
        let Some(next) = end.into_iter().chain(scheduler.wake_at()).min() else {
            if added == jobs.len() {
                break;
            }
            continue;
        };
        now = now.max(next);
        while let Some(Reverse((_, number))) = ends.peek().copied().filter(|Reverse((end, _))| *end <= now) {
            ends.pop();
            running.remove(&number);
            let outcome = jobs[number].outcome(attempts[number]);
            attempts[number] += 1;
            scheduler.finish(&number, outcome, now).unwrap();
            makespan = now;
        }
    }
    prop_assert!(scheduler.is_finished());
    prop_assert_eq!(scheduler.free(), capacity);
    let statuses = (0..jobs.len()).map(|number| scheduler.status(&number).unwrap()).collect();
    Ok(Simulated { makespan, attempts, statuses })
}

/// The longest chain of actual durations.
fn critical_path(jobs: &[Job]) -> Duration {
    let mut ends: Vec<u64> = Vec::with_capacity(jobs.len());
    for job in jobs {
        let start = job.dependencies.iter().map(|&dependency| ends[dependency]).max().unwrap_or(0);
        ends.push(start + job.actual);
    }
    Duration::from_millis(ends.into_iter().max().unwrap_or(0))
}

/// Work divided by what there is of a resource.
fn work(jobs: &[Job], capacity: u64, demand: impl Fn(&Demand) -> u64) -> Duration {
    let total: u64 = jobs.iter().map(|job| job.actual * demand(&job.demand)).sum();
    Duration::from_millis(total).div_f64(f64::from(u32::try_from(capacity).unwrap()))
}

/// All at once: `simulate` adds late ones as time goes on, which is no fault of the scheduler's.
fn makespan(jobs: &[Job], capacity: Capacity) -> Duration {
    let tasks: HashMap<usize, Vec<usize>> =
        jobs.iter().enumerate().map(|(number, job)| (number, job.dependencies.clone())).collect();
    let ranks = ranks(&tasks, |&number| Duration::from_millis(jobs[number].expected)).unwrap();
    let mut admission = Admission::new(capacity);
    let mut missing: Vec<usize> = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let mut dependencies = job.dependencies.clone();
        dependencies.sort_unstable();
        dependencies.dedup();
        missing.push(dependencies.len());
        if dependencies.is_empty() {
            admission.submit(number, job.demand, Priority { user: 0, rank: ranks[&number] });
        }
    }
    let mut ends = BinaryHeap::new();
    let mut now = 0;
    loop {
        while let Some(number) = admission.start() {
            ends.push(Reverse((now + jobs[number].actual, number)));
        }
        let Some(Reverse((end, done))) = ends.pop() else { break };
        now = end;
        admission.remove(&done);
        for (number, job) in jobs.iter().enumerate().filter(|(_, job)| job.dependencies.contains(&done)) {
            missing[number] -= 1;
            if missing[number] == 0 {
                admission.submit(number, job.demand, Priority { user: 0, rank: ranks[&number] });
            }
        }
    }
    assert_eq!((admission.waiting(), admission.running()), (0, 0));
    assert!(missing.iter().all(|&missing| missing == 0), "everything ran");
    Duration::from_millis(now)
}

const CAPACITY: Capacity = Capacity { cpus: 8, memory: 1000 };

fn one_core() -> impl Strategy<Value = Demand> + Clone {
    Just(Demand::default())
}

fn up_to(cpus: u32, memory: u64) -> impl Strategy<Value = Demand> + Clone {
    (1..=cpus, 0..=memory).prop_map(|(cpus, memory)| Demand { cpus, memory })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// List scheduling is at most twice as long as the best (Graham, "Bounds on multiprocessing timing anomalies", 1969),
    /// whatever the expectations were.
    #[test]
    fn one_core_each_takes_at_most_twice_the_least_time(jobs in jobs(one_core(), false), cpus in 1..9_u32) {
        let capacity = Capacity { cpus, ..CAPACITY };
        let least = critical_path(&jobs).max(work(&jobs, u64::from(cpus), |_| 1));
        prop_assert!(makespan(&jobs, capacity) <= 2 * least);
    }

    /// While a task waits that does not fit, more than half of the cores or of the memory is taken if no task needs more than
    /// half; while none waits, the critical path gets shorter.
    #[test]
    fn mixed_demands_waste_at_most_half(jobs in jobs(up_to(4, 500), false)) {
        let cores = work(&jobs, 8, |demand| u64::from(demand.cpus));
        let memory = work(&jobs, 1000, |demand| demand.memory);
        prop_assert!(makespan(&jobs, CAPACITY) <= critical_path(&jobs) + 2 * (cores + memory));
    }

    #[test]
    fn everything_comes_to_its_end_within_the_resources(jobs in jobs(up_to(12, 1500), true)) {
        let simulated = simulate(&jobs, CAPACITY, FailurePolicy::KeepGoing)?;
        prop_assert!(simulated.makespan > Duration::ZERO);
        let mut expected: Vec<(Status, usize)> = Vec::new();
        for job in &jobs {
            let blocked = job.dependencies.iter().any(|&dependency| expected[dependency].0 != Status::Done);
            let mut attempts = 0;
            let status = if blocked { Status::Skipped } else {
                loop {
                    let outcome = job.outcome(attempts);
                    attempts += 1;
                    match outcome {
                        Outcome::Succeeded => break Status::Done,
                        Outcome::EnvironmentFailed if attempts <= RETRIES as usize => {}
                        _ => break Status::Failed,
                    }
                }
            };
            expected.push((status, attempts));
        }
        let found: Vec<_> = simulated.statuses.into_iter().zip(simulated.attempts).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn after_a_failure_nothing_new_starts(jobs in jobs(one_core(), true)) {
        let simulated = simulate(&jobs, CAPACITY, FailurePolicy::FailFast)?;
        let failed = simulated.statuses.contains(&Status::Failed);
        prop_assert!(failed || simulated.statuses.iter().all(|status| *status == Status::Done));
        for (job, status) in jobs.iter().zip(&simulated.statuses) {
            let needs = job.dependencies.iter().all(|&dependency| simulated.statuses[dependency] == Status::Done);
            prop_assert!(needs || *status == Status::Skipped);
        }
    }

    /// A large task among small ones that keep coming starts after a bounded number of them.
    #[test]
    fn a_large_task_is_not_starved(durations in prop::collection::vec(1..20_u64, 300), worse in any::<bool>()) {
        let mut admission = Admission::new(CAPACITY);
        let mut ends = BinaryHeap::new();
        let mut now = 0;
        let mut before = 0;
        for (number, duration) in durations.into_iter().enumerate() {
            if number == 8 {
                admission.submit(usize::MAX, Demand { cpus: 8, memory: 1000 }, Priority { user: 0, rank: Duration::from_secs(1) });
            }
            let rank = Duration::from_millis(if worse { 1 } else { 1000 });
            admission.submit(number, Demand::default(), Priority { user: 0, rank });
            while let Some(started) = admission.start() {
                if started == usize::MAX {
                    prop_assert!(before <= 8 + Admission::<usize>::MAX_OVERTAKEN);
                    return Ok(());
                }
                before += 1;
                ends.push(Reverse((now + duration, started)));
            }
            if let Some(Reverse((end, done))) = ends.pop() {
                now = end;
                admission.remove(&done);
            }
        }
        prop_assert!(false, "never started");
    }
}
