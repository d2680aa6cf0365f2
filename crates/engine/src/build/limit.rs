//! Which command starts next, and how many run at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use buildnet_event::TaskName;
use buildnet_scheduler::{Admission, Capacity, Demand, Durations, Priority, ranks};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::session::BuildOptions;
use super::spec::{ActionSpec, Plan};

/// Hands out the machine's cores and memory to commands, longest critical path first.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    queue: Arc<Mutex<Queue>>,
    ranks: Arc<HashMap<TaskName, Duration>>,
}

#[derive(Debug)]
struct Queue {
    admission: Admission<TaskName>,
    waiting: HashMap<TaskName, oneshot::Sender<()>>,
}

/// A command's share of the machine, given back when dropped. Also while it waits for it: a task that is given up leaves the queue.
#[derive(Debug)]
pub(super) struct Permit {
    queue: Arc<Mutex<Queue>>,
    task: TaskName,
}

impl Limit {
    /// Ranks the tasks of a plan by what history says of their durations.
    pub(super) fn new(plan: &Plan, options: &BuildOptions) -> Self {
        let machine = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let capacity = Capacity {
            cpus: if options.jobs == 0 { machine } else { options.jobs },
            memory: if options.memory == 0 { u64::MAX } else { options.memory },
        };
        let known = options.expected_us.iter().map(|(task, us)| (task.clone(), Duration::from_micros(*us)));
        let durations = Durations::new(known);
        let graph = plan.tasks.iter().map(|(name, spec)| (name, spec.dependencies.as_slice()));
        // A plan with a cycle is refused by its frontend and reported by the graph: order does not matter then.
        let ranks = ranks(graph, |task| durations.expected(task, None)).unwrap_or_default();
        let queue = Queue { admission: Admission::new(capacity), waiting: HashMap::new() };
        Self { queue: Arc::new(Mutex::new(queue)), ranks: Arc::new(ranks) }
    }

    /// Waits until the command may start.
    pub(super) async fn admit(&self, task: &TaskName, spec: &ActionSpec) -> Permit {
        let (sender, receiver) = oneshot::channel();
        let permit = Permit { queue: Arc::clone(&self.queue), task: task.clone() };
        {
            let mut queue = self.queue.lock();
            let demand = Demand { cpus: spec.cpus, memory: spec.memory.unwrap_or(0) };
            let rank = self.ranks.get(task).copied().unwrap_or_default();
            queue.waiting.insert(task.clone(), sender);
            queue.admission.submit(task.clone(), demand, Priority { user: 0, rank });
            queue.start();
        }
        // The sender lives in the queue until it was used or the permit is dropped.
        let _ = receiver.await;
        permit
    }
}

impl Queue {
    fn start(&mut self) {
        while let Some(task) = self.admission.start() {
            if let Some(sender) = self.waiting.remove(&task) {
                let _ = sender.send(());
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.waiting.remove(&self.task);
        queue.admission.remove(&self.task);
        queue.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(tasks: &[(&str, &[&str])]) -> Plan {
        let name = |name: &str| TaskName::new(name, "build");
        let tasks = tasks.iter().map(|(task, dependencies)| {
            let dependencies = dependencies.iter().map(|dependency| name(dependency)).collect();
            (name(task), ActionSpec { dependencies, ..ActionSpec::new(name(task), *task) })
        });
        Plan { root: "/".into(), tasks: tasks.collect(), requested: Vec::new() }
    }

    #[tokio::test]
    async fn the_longest_critical_path_starts_first() {
        let plan = plan(&[("short", &[]), ("long", &[]), ("end", &["long"])]);
        let limit = Limit::new(&plan, &BuildOptions { jobs: 1, ..BuildOptions::default() });
        let name = |name: &str| TaskName::new(name, "build");
        let admit = |task: &str| {
            let (limit, task) = (limit.clone(), name(task));
            let spec = plan.tasks[&task].clone();
            async move { limit.admit(&task, &spec).await }
        };
        let first = admit("end").await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut handles = Vec::new();
        for task in ["short", "long"] {
            let (waiting, order) = (admit(task), Arc::clone(&order));
            handles.push(tokio::spawn(async move {
                let permit = waiting.await;
                order.lock().push(permit.task.package.to_string());
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for handle in handles {
            handle.await.unwrap();
        }
        assert_eq!(*order.lock(), ["long", "short"]);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nothing() {
        let plan = plan(&[("a", &[]), ("b", &[]), ("c", &[])]);
        let limit = Limit::new(&plan, &BuildOptions { jobs: 1, ..BuildOptions::default() });
        let spec = plan.tasks.values().next().unwrap();
        let a = limit.admit(&TaskName::new("a", "build"), spec).await;
        let gone =
            tokio::time::timeout(Duration::from_millis(10), limit.admit(&TaskName::new("b", "build"), spec)).await;
        assert!(gone.is_err());
        drop(a);
        let _c = limit.admit(&TaskName::new("c", "build"), spec).await;
        assert_eq!(limit.queue.lock().admission.running(), 1);
        assert_eq!(limit.queue.lock().waiting.len(), 0);
    }
}
