//! The graph of tasks.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::closure::{Closure, Part};
use super::providers::{Item, Universe};
use crate::Sym;
use crate::error::{Error, Result};

/// A task of the graph.
#[derive(Clone, Debug)]
pub struct TaskNode {
    /// The recipe, by its index in the universe.
    pub recipe: usize,
    /// The task.
    pub task: Sym,
    /// The tasks that come before it, by their index in the graph.
    pub depends: BTreeSet<u32>,
    /// Whether its result can come from shared state.
    pub setscene: bool,
}

/// The tasks that targets need, and their order.
#[derive(Clone, Debug, Default)]
pub struct TaskGraph {
    /// The tasks; a dependency's index may be higher or lower.
    pub nodes: Vec<TaskNode>,
    /// Indices such that every task comes after what it depends on.
    pub order: Vec<u32>,
    /// The tasks that were asked for.
    pub targets: Vec<u32>,
}

/// Which tasks of the targets' graph to keep; all of it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// BitBake's `--runall`: instead of the graph, these tasks of every recipe that is in it.
    pub run_all: Vec<String>,
    /// BitBake's `--runonly`: of the graph, these tasks and what they need.
    pub run_only: Vec<String>,
}

/// A task's name with its `do_`.
pub(super) fn full_task_name(task: &str) -> String {
    if task.starts_with("do_") { task.to_owned() } else { format!("do_{task}") }
}

/// All tasks of a closure, before those that are not needed are dropped.
struct Builder<'a> {
    universe: &'a Universe,
    closure: &'a Closure,
    nodes: Vec<TaskNode>,
    index: HashMap<(usize, Sym), u32>,
    /// Recursive tasks: which tasks they gather, and those whose dependencies they start from besides their own.
    recursive: Vec<(u32, Vec<Sym>, Vec<u32>)>,
}

impl TaskGraph {
    /// The graph of (target, task) pairs over their closure. A task name that ends in `-` means what the task depends on.
    pub fn new(universe: &Universe, closure: &Closure, targets: &[(&str, &str)]) -> Result<Self> {
        Self::selected(universe, closure, targets, &Selection::default())
    }

    /// The same, or other tasks of the recipes in it, or only some of its tasks.
    pub fn selected(
        universe: &Universe,
        closure: &Closure,
        targets: &[(&str, &str)],
        selection: &Selection,
    ) -> Result<Self> {
        let mut builder =
            Builder { universe, closure, nodes: Vec::new(), index: HashMap::new(), recursive: Vec::new() };
        builder.number();
        builder.direct()?;
        builder.gather();
        builder.active(targets, selection)
    }

    /// BitBake's name of a task: the recipe's file with its variant, and the task.
    pub fn id(&self, universe: &Universe, index: u32) -> String {
        let node = &self.nodes[index as usize];
        format!("{}:{}", universe.recipes[node.recipe].file, node.task)
    }
}

impl Builder<'_> {
    fn number(&mut self) {
        // All recipes of one configuration come before those of the next.
        let mut recipes = self.closure.recipes.clone();
        recipes.sort_by_key(|recipe| self.universe.configuration_of(*recipe));
        for recipe in &recipes {
            for task in &self.universe.recipes[*recipe].tasks.tasks {
                let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
                if self.index.insert((*recipe, *task), next).is_none() {
                    self.nodes.push(TaskNode {
                        recipe: *recipe,
                        task: *task,
                        depends: BTreeSet::new(),
                        setscene: false,
                    });
                }
            }
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let setscene = Sym::find(&format!("{}_setscene", node.task))
                .is_some_and(|name| self.index.contains_key(&(node.recipe, name)));
            self.nodes[at].setscene = setscene;
        }
    }

    fn flag(&self, recipe: usize, flag: &str, task: Sym) -> Option<Vec<Sym>> {
        let text = self.universe.recipes[recipe].tasks.flags.get(flag)?.get(task.as_str())?;
        Some(text.split_whitespace().map(Sym::new).collect())
    }

    /// What the configuration of a recipe chose.
    fn part(&self, recipe: usize) -> &Part {
        &self.closure.parts[self.universe.configuration_of(recipe)]
    }

    /// Tasks of the given names in the providers of a recipe's build-time needs.
    fn build_tasks(&self, recipe: usize, tasks: &[Sym], found: &mut BTreeSet<u32>) {
        let build = &self.part(recipe).build;
        for item in &self.universe.recipes[recipe].depends {
            if let Some(provider) = build.chosen(item) {
                found.extend(tasks.iter().filter_map(|task| self.index.get(&(provider, *task))));
            }
        }
    }

    fn runtime_tasks(&self, recipe: usize, tasks: &[Sym], found: &mut BTreeSet<u32>) {
        let runtime = &self.part(recipe).runtime;
        for item in &self.universe.recipes[recipe].runtime_depends {
            if let Some(provider) = runtime.chosen(item) {
                found.extend(tasks.iter().filter_map(|task| self.index.get(&(provider, *task))));
            }
        }
    }

    /// Every dependency that does not recurse.
    fn direct(&mut self) -> Result<()> {
        for at in 0..self.nodes.len() {
            let TaskNode { recipe, task, .. } = self.nodes[at];
            if self.closure.failed.contains(&recipe) {
                continue;
            }
            let mut depends = BTreeSet::new();
            let info = &self.universe.recipes[recipe];
            if let Some(parents) = info.tasks.parents.get(task.as_str()) {
                depends.extend(
                    parents
                        .iter()
                        .filter_map(|parent| Sym::find(parent))
                        .filter_map(|parent| self.index.get(&(recipe, parent))),
                );
            }
            if let Some(tasks) = self.flag(recipe, "deptask", task) {
                self.build_tasks(recipe, &tasks, &mut depends);
            }
            if let Some(tasks) = self.flag(recipe, "rdeptask", task) {
                self.runtime_tasks(recipe, &tasks, &mut depends);
            }
            self.named(recipe, task, &mut depends)?;
            if self.flag(recipe, "mcdepends", task).is_some() {
                self.foreign(recipe, &mut depends)?;
            }
            if let Some(tasks) = self.flag(recipe, "recrdeptask", task) {
                self.build_tasks(recipe, &tasks, &mut depends);
                self.runtime_tasks(recipe, &tasks, &mut depends);
                let from = self.flag(recipe, "recideptask", task).unwrap_or_default();
                let from = from.iter().filter_map(|task| self.index.get(&(recipe, *task)).copied()).collect();
                self.recursive.push((number(at), tasks, from));
            }
            depends.remove(&number(at));
            self.nodes[at].depends = depends;
        }
        Ok(())
    }

    /// What the `depends` and `rdepends` flags name.
    fn named(&self, recipe: usize, task: Sym, depends: &mut BTreeSet<u32>) -> Result<()> {
        let build = self.closure.needs.get(&(recipe, task)).into_iter().flatten().map(|need| (need, false));
        let runtime = self.closure.runtime_needs.get(&(recipe, task)).into_iter().flatten().map(|need| (need, true));
        for ((item, wanted), at_runtime) in build.chain(runtime) {
            let items = if at_runtime { &self.part(recipe).runtime } else { &self.part(recipe).build };
            if !at_runtime && items.has_failed(item) {
                continue;
            }
            let Some(provider) = items.chosen(item) else { continue };
            let Some(found) = self.index.get(&(provider, *wanted)) else {
                let recipes = &self.universe.recipes;
                return Err(Error::Fatal(format!(
                    "the task {task} of {} depends on {wanted} of {}, which has no such task",
                    recipes[recipe].file, recipes[provider].file
                )));
            };
            depends.insert(*found);
        }
        Ok(())
    }

    /// Tasks of other configurations. BitBake does not tell which task asked for which.
    fn foreign(&self, recipe: usize, depends: &mut BTreeSet<u32>) -> Result<()> {
        let info = &self.universe.recipes[recipe];
        for need in self.part(recipe).foreign.iter().filter(|need| need.from == info.multiconfig) {
            let Some(provider) = self.closure.parts[need.to].build.chosen(&need.item) else {
                let full = self.universe.full_name(Item { configuration: need.to, name: &need.item });
                return Err(Error::Fatal(format!("{}: mcdepends names {full}, which nothing provides", info.file)));
            };
            let Some(found) = self.index.get(&(provider, need.task)) else {
                let other = &self.universe.recipes[provider].file;
                let task = need.task;
                return Err(Error::Fatal(format!(
                    "{}: mcdepends names {task} of {other}, which has no such task",
                    info.file
                )));
            };
            depends.insert(*found);
        }
        Ok(())
    }

    /// For every task, the recipes that it depends on, however far: one bit per recipe.
    fn cumulative(&self) -> Vec<Vec<u64>> {
        let recipes: HashMap<usize, usize> =
            self.closure.recipes.iter().enumerate().map(|(at, recipe)| (*recipe, at)).collect();
        let words = recipes.len().div_ceil(64);
        let mut result = vec![vec![0u64; words]; self.nodes.len()];
        let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        let mut left: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut ready = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            for dep in &node.depends {
                dependents[*dep as usize].push(number(at));
            }
            left.push(node.depends.len());
            if node.depends.is_empty() {
                ready.push(at);
            }
        }
        while let Some(at) = ready.pop() {
            let own = recipes[&self.nodes[at].recipe];
            let bits = std::mem::take(&mut result[at]);
            for dependent in &dependents[at] {
                let dependent = *dependent as usize;
                for (word, more) in result[dependent].iter_mut().zip(&bits) {
                    *word |= more;
                }
                result[dependent][own / 64] |= 1 << (own % 64);
                left[dependent] -= 1;
                if left[dependent] == 0 {
                    ready.push(dependent);
                }
            }
            result[at] = bits;
        }
        result
    }

    /// Adds what recursive tasks gather, until nothing more comes.
    fn gather(&mut self) {
        let cumulative = self.cumulative();
        let is_recursive: HashSet<u32> = self.recursive.iter().map(|(at, _, _)| *at).collect();
        loop {
            let mut grew = false;
            for (at, tasks, from) in &self.recursive {
                let own = &self.nodes[*at as usize].depends;
                let mut total: BTreeSet<u32> = own.clone();
                for start in from {
                    total.insert(*start);
                    total.extend(&self.nodes[*start as usize].depends);
                }
                let mut recipes = vec![0u64; cumulative.first().map_or(0, Vec::len)];
                for dep in &total {
                    for (word, more) in recipes.iter_mut().zip(&cumulative[*dep as usize]) {
                        *word |= more;
                    }
                }
                let mut more: BTreeSet<u32> = BTreeSet::new();
                for (bit, recipe) in self.closure.recipes.iter().enumerate() {
                    if recipes[bit / 64] >> (bit % 64) & 1 == 1 {
                        more.extend(tasks.iter().filter_map(|task| self.index.get(&(*recipe, *task))));
                    }
                }
                more.remove(at);
                let mut all = own.clone();
                all.extend(more);
                // Recursive tasks that depend on recursive tasks take over what those gathered, by name.
                let mut further: BTreeSet<u32> = BTreeSet::new();
                for dep in all.iter().filter(|dep| is_recursive.contains(dep)) {
                    further.extend(
                        self.nodes[*dep as usize]
                            .depends
                            .iter()
                            .filter(|other| tasks.contains(&self.nodes[**other as usize].task)),
                    );
                }
                all.extend(further);
                if all.len() > own.len() {
                    grew = true;
                    self.nodes[*at as usize].depends = all;
                }
            }
            if !grew {
                break;
            }
        }
        // A recursive task that gathers its own name would wait for others of that name, which wait for it.
        let own_name = |(at, tasks, _): &&(u32, Vec<Sym>, Vec<u32>)| tasks.contains(&self.nodes[*at as usize].task);
        let selfish: BTreeSet<u32> = self.recursive.iter().filter(own_name).map(|(at, _, _)| *at).collect();
        for at in &selfish {
            self.nodes[*at as usize].depends.retain(|dep| !selfish.contains(dep));
        }
    }

    /// Keeps the tasks that the targets need, in an order that respects dependencies.
    fn active(self, targets: &[(&str, &str)], selection: &Selection) -> Result<TaskGraph> {
        let mut wanted = Vec::new();
        let mut chosen = Vec::new();
        for (target, task) in targets {
            let Some(recipe) = self.closure.provider(self.universe, target) else { continue };
            if self.closure.failed.contains(&recipe) {
                continue;
            }
            let (task, parents) = task.strip_suffix('-').map_or((*task, false), |task| (task, true));
            let Some(&at) = Sym::find(task).and_then(|task| self.index.get(&(recipe, task))) else {
                let known: Vec<&str> = self.universe.recipes[recipe].tasks.tasks.iter().map(|t| t.as_str()).collect();
                return Err(Error::Fatal(format!("{target} has no task {task}; it has {}", known.join(", "))));
            };
            if parents {
                wanted.extend(&self.nodes[at as usize].depends);
            } else {
                wanted.push(at);
            }
            chosen.push(at);
        }
        let mut active = self.needed(wanted, |_| true);
        if !selection.run_all.is_empty() {
            active = self.run_all(active, &selection.run_all, &mut chosen);
            if active.is_empty() {
                let names = selection.run_all.join(", ");
                return Err(Error::Fatal(format!("no recipe that the targets need has the task {names}")));
            }
        }
        if !selection.run_only.is_empty() {
            let tasks: Vec<String> = selection.run_only.iter().map(|task| full_task_name(task)).collect();
            let is_wanted = |at: &u32| tasks.iter().any(|task| task == self.nodes[*at as usize].task.as_str());
            let starts = active.iter().copied().filter(is_wanted).collect();
            active = self.needed(starts, |at| active.contains(&at));
            if active.is_empty() {
                let names = selection.run_only.join(", ");
                return Err(Error::Fatal(format!("the targets need no task {names}")));
            }
        }
        self.pruned(&active, &chosen)
    }

    /// Tasks with all that they depend on, as far as that is allowed.
    fn needed(&self, mut wanted: Vec<u32>, allowed: impl Fn(u32) -> bool) -> BTreeSet<u32> {
        let mut active = BTreeSet::new();
        while let Some(at) = wanted.pop() {
            if active.insert(at) {
                wanted.extend(self.nodes[at as usize].depends.iter().filter(|dep| allowed(**dep)));
            }
        }
        active
    }

    /// Other tasks of all recipes in a graph, instead of the graph: repeated until the recipes they bring in bring in no more.
    fn run_all(&self, mut active: BTreeSet<u32>, tasks: &[String], chosen: &mut Vec<u32>) -> BTreeSet<u32> {
        let tasks: Vec<Sym> = tasks.iter().map(|task| Sym::new(&full_task_name(task))).collect();
        let mut before: BTreeSet<u32> = BTreeSet::new();
        loop {
            let recipes: BTreeSet<usize> = active.iter().map(|at| self.nodes[*at as usize].recipe).collect();
            let of_recipe = |recipe: &usize| {
                tasks.iter().filter_map(|task| self.index.get(&(*recipe, *task)).copied()).collect::<Vec<_>>()
            };
            let found: BTreeSet<u32> = recipes.iter().flat_map(of_recipe).collect();
            active = self.needed(found.iter().copied().collect(), |_| true);
            if found.is_subset(&before) {
                chosen.extend(found);
                return active;
            }
            before = found;
        }
    }

    fn pruned(self, active: &BTreeSet<u32>, chosen: &[u32]) -> Result<TaskGraph> {
        let mut renumber = vec![u32::MAX; self.nodes.len()];
        let mut nodes = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| active.contains(&number(*at))) {
            renumber[at] = number(nodes.len());
            nodes.push(node.clone());
        }
        let renumbered = |at: &u32| Some(renumber[*at as usize]).filter(|at| *at != u32::MAX);
        for node in &mut nodes {
            node.depends = node.depends.iter().filter_map(renumbered).collect();
        }
        let targets = chosen.iter().filter_map(renumbered).collect();
        let order = order(&nodes).map_err(|circle| {
            let name = |at: &u32| {
                let node = &nodes[*at as usize];
                format!("{}:{}", self.universe.recipe_name(node.recipe), node.task)
            };
            let names: Vec<String> = circle.iter().map(name).collect();
            Error::Fatal(format!("tasks depend on each other in a circle:\n  {}", names.join("\n  depends on ")))
        })?;
        Ok(TaskGraph { nodes, order, targets })
    }
}

/// An order in which every task follows what it depends on; or a circle of tasks.
fn order(nodes: &[TaskNode]) -> std::result::Result<Vec<u32>, Vec<u32>> {
    let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
    let mut left: Vec<usize> = nodes.iter().map(|node| node.depends.len()).collect();
    for (at, node) in nodes.iter().enumerate() {
        for dep in &node.depends {
            dependents[*dep as usize].push(number(at));
        }
    }
    let mut order: Vec<u32> = (0..nodes.len()).filter(|at| left[*at] == 0).map(number).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for dependent in &dependents[at as usize] {
            left[*dependent as usize] -= 1;
            if left[*dependent as usize] == 0 {
                order.push(*dependent);
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    // Whatever is left waits for something that is left: following it must come round.
    let mut at = (0..nodes.len()).find(|at| left[*at] > 0).map_or(0, number);
    let mut path: Vec<u32> = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        let waiting = nodes[at as usize].depends.iter().find(|dep| left[**dep as usize] > 0);
        at = waiting.copied().unwrap_or(at);
    }
    let start = path.iter().position(|p| *p == at).unwrap_or_default();
    let mut circle = path.split_off(start);
    circle.push(at);
    Err(circle)
}

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("a graph has fewer than 2^32 tasks")
}
