//! Tasks and what they wait for, as numbers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use buildnet_event::TaskName;

use crate::error::{Problem, ProblemKind};
use crate::model::{DependsOn, Package, Task};
use crate::suggest;

/// All tasks of a workspace, sorted by name, with their direct dependencies.
#[derive(Debug, Default)]
pub(crate) struct TaskIndex {
    pub(crate) names: Vec<TaskName>,
    /// For each task the tasks it waits for, sorted.
    pub(crate) edges: Vec<Vec<u32>>,
    ids: HashMap<TaskName, u32>,
}

type Packages = BTreeMap<Arc<str>, Package>;

impl TaskIndex {
    pub(crate) fn id(&self, name: &TaskName) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// Links the tasks of all packages; adds missing tasks and cycles to `problems`.
    pub(crate) fn new(packages: &Packages, root: &Path, problems: &mut Vec<Problem>) -> Self {
        let mut index = Self::default();
        for task in packages.values().flat_map(|package| package.tasks.values()) {
            index.ids.insert(task.name.clone(), u32::try_from(index.names.len()).expect("fewer than 2^32 tasks"));
            index.names.push(task.name.clone());
        }
        for package in packages.values() {
            for task in package.tasks.values() {
                let mut edges = Vec::new();
                for depends_on in &task.depends_on {
                    index.resolve(packages, package, task, depends_on, &mut edges, problems);
                }
                edges.sort_unstable();
                edges.dedup();
                index.edges.push(edges);
            }
        }
        index.find_cycles(packages, root, problems);
        index
    }

    fn resolve(
        &self,
        packages: &Packages,
        package: &Package,
        task: &Task,
        depends_on: &DependsOn,
        edges: &mut Vec<u32>,
        problems: &mut Vec<Problem>,
    ) {
        let text = depends_on.text.as_str();
        if let Some(name) = text.strip_prefix('^') {
            self.of_dependencies(packages, package, name, edges);
            return;
        }
        let own = TaskName::new(Arc::clone(&package.name), text);
        let other = text.split_once(':').map(|(package, task)| TaskName::new(package, task));
        let found = self.id(&own).or_else(|| other.as_ref().and_then(|other| self.id(other)));
        if let Some(id) = found {
            edges.push(id);
            return;
        }
        // A rule for all packages names tasks that not all packages have.
        if depends_on.location.is_none() {
            return;
        }
        let kind = ProblemKind::MissingTask { task: task.name.to_string(), dependency: text.into() };
        let mut problem = Problem::new(kind).at(depends_on.location.clone());
        let candidates: Vec<String> = match &other {
            Some(other) if packages.contains_key(&other.package) => {
                packages[&other.package].tasks.keys().map(|task| format!("{}:{task}", other.package)).collect()
            }
            Some(other) => packages.keys().map(|name| format!("{name}:{}", other.task)).collect(),
            None => package.tasks.keys().map(ToString::to_string).collect(),
        };
        problem.hint = suggest::hint(text, candidates.iter().map(String::as_str));
        problems.push(problem);
    }

    /// The task `name` of each package that `package` needs; where one has none, of those that it needs in turn.
    fn of_dependencies(&self, packages: &Packages, package: &Package, name: &str, edges: &mut Vec<u32>) {
        let mut stack: Vec<&Arc<str>> = package.dependencies.iter().collect();
        let mut passed: Vec<&Arc<str>> = Vec::new();
        let task: Arc<str> = name.into();
        while let Some(dependency) = stack.pop() {
            if let Some(id) = self.id(&TaskName { package: Arc::clone(dependency), task: Arc::clone(&task) }) {
                edges.push(id);
            } else if let Some(between) = packages.get(dependency)
                && !passed.contains(&dependency)
            {
                passed.push(dependency);
                stack.extend(&between.dependencies);
            }
        }
    }

    /// Reports one cycle for each knot of tasks that wait for each other.
    fn find_cycles(&self, packages: &Packages, root: &Path, problems: &mut Vec<Problem>) {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.names.len()];
        for start in 0..self.names.len() {
            if marks[start] != Mark::New {
                continue;
            }
            let mut path = vec![(start, 0)];
            marks[start] = Mark::Open;
            while let Some((node, next)) = path.last_mut() {
                let Some(&target) = self.edges[*node].get(*next) else {
                    marks[*node] = Mark::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let target = target as usize;
                match marks[target] {
                    Mark::Done => {}
                    Mark::New => {
                        marks[target] = Mark::Open;
                        path.push((target, 0));
                    }
                    Mark::Open => {
                        let from = path.iter().position(|&(node, _)| node == target).unwrap_or(0);
                        let mut cycle: Vec<usize> = path[from..].iter().map(|&(node, _)| node).collect();
                        cycle.push(target);
                        problems.push(self.describe_cycle(&cycle, packages, root));
                        // One report per knot: what is open now counts as seen.
                        for &(node, _) in &path {
                            marks[node] = Mark::Done;
                        }
                        path.clear();
                    }
                }
            }
        }
    }

    fn describe_cycle(&self, cycle: &[usize], packages: &Packages, root: &Path) -> Problem {
        let names: Vec<String> = cycle.iter().map(|&id| self.names[id].to_string()).collect();
        let mut problem = Problem::new(ProblemKind::Cycle(names));
        for pair in cycle.windows(2) {
            let (from, to) = (&self.names[pair[0]], &self.names[pair[1]]);
            let package = &packages[&from.package];
            let declared = package.declared_dependencies.iter().find(|dependency| *dependency.value == *to.package);
            let explicit = package.tasks[&from.task].depends_on.iter().find(|depends_on| {
                depends_on.location.is_some()
                    && !depends_on.text.starts_with('^')
                    && (*depends_on.text == *to.task || depends_on.text == to.to_string())
            });
            let location = match (explicit, declared) {
                (Some(explicit), _) if from.package == to.package || declared.is_none() => explicit.location.clone(),
                (_, Some(declared)) => Some(declared.location.clone()),
                _ => package.origin.locate(root, &format!("\"{}\"", to.package)),
            };
            problem = problem.note(format!("`{from}` waits for `{to}`"), location);
        }
        problem.hint("remove one of these dependencies, or move what both need into a package of its own")
    }

    /// The given tasks and everything they wait for, sorted.
    pub(crate) fn closure(&self, start: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut seen = vec![false; self.names.len()];
        let mut stack: Vec<u32> = start.into_iter().collect();
        let mut found = Vec::new();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id as usize], true) {
                found.push(id);
                stack.extend(&self.edges[id as usize]);
            }
        }
        found.sort_unstable();
        found
    }
}
