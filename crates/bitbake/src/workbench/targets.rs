//! Task graphs of targets.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Finding, Workbench};
use crate::error::Result;
use crate::graph::{Closure, HashedTask, TaskGraph, Universe, hash_tasks, hash_tasks_with};
use crate::recipe::RecipeInfo;
use crate::signature::FileChecksums;

/// The tasks of some targets.
pub struct Planned {
    /// All recipes, by what they provide.
    pub universe: Universe,
    /// Those that are needed.
    pub closure: Closure,
    /// Their tasks.
    pub graph: TaskGraph,
}

/// Makes the graph of targets, each `NAME` or `NAME:TASK`; `task` is meant where none is named. `run_all` are tasks to run for every
/// recipe that the targets need and that has them.
pub fn plan(
    bench: &Workbench,
    recipes: Vec<Arc<RecipeInfo>>,
    targets: &[String],
    task: &str,
    run_all: &[String],
) -> Result<Planned> {
    let mut universe = Universe::new(&bench.dir, recipes)?;
    let mut pairs: Vec<(String, String)> = targets
        .iter()
        .map(|target| match target.rsplit_once(':') {
            Some((name, task)) if !name.is_empty() => (name.to_owned(), full_name(task)),
            _ => (target.clone(), full_name(task)),
        })
        .collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    let closure = Closure::of(&mut universe, &names)?;
    if !run_all.is_empty() {
        pairs = for_all(&universe, &closure, run_all);
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, task)| (name.as_str(), task.as_str())).collect();
    let graph = TaskGraph::new(&universe, &closure, &pairs)?;
    Ok(Planned { universe, closure, graph })
}

fn for_all(universe: &Universe, closure: &Closure, run_all: &[String]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for task in run_all.iter().map(|task| full_name(task)) {
        for (index, recipe) in universe.recipes.iter().enumerate().filter(|(index, _)| closure.contains(*index)) {
            let item = recipe.provides.iter().find(|item| closure.provider(universe, item) == Some(index));
            if let Some(item) = item.filter(|_| recipe.tasks.tasks.iter().any(|own| own.as_str() == task)) {
                pairs.push((item.clone(), task.clone()));
            }
        }
    }
    pairs
}

fn full_name(task: &str) -> String {
    if task.starts_with("do_") { task.to_owned() } else { format!("do_{task}") }
}

impl Planned {
    /// The hashes of all tasks, in the order of the graph's nodes.
    pub fn hashes(&mut self) -> Result<Vec<HashedTask>> {
        hash_tasks(&mut self.universe, &self.closure, &self.graph)
    }

    /// The same, with checksums that are known already.
    pub fn hashes_with(&mut self, checksums: &FileChecksums) -> Result<Vec<HashedTask>> {
        hash_tasks_with(&mut self.universe, &self.closure, &self.graph, checksums)
    }

    /// What was noticed while providers were chosen, and what recipes that overwrite each other's output are.
    pub fn findings(&mut self, bench: &Workbench) -> Result<Vec<Finding>> {
        let messages = self.universe.take_messages();
        let mut findings: Vec<Finding> = messages.iter().map(|message| Finding::logged(message, None)).collect();
        findings.extend(self.closure.problems.iter().map(Finding::note));
        let mut session = bench.dir.session(false);
        let allowed = bench.dir.store.copy().get_words(&mut session, "BB_MULTI_PROVIDER_ALLOWED");
        bench.dir.give_back(session);
        findings.extend(self.conflicts(&allowed?).into_iter().map(Finding::error));
        Ok(findings)
    }

    /// `PN:TASK` of a task.
    pub fn name(&self, index: u32) -> String {
        let node = &self.graph.nodes[index as usize];
        format!("{}:{}", self.universe.recipes[node.recipe].name, node.task)
    }

    /// The names of the recipes whose tasks are in the graph, in the order of its nodes.
    pub fn recipe_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let mut last = usize::MAX;
        for node in &self.graph.nodes {
            if node.recipe != last {
                last = node.recipe;
                names.push(&self.universe.recipes[node.recipe].name);
            }
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        names
    }

    /// Items that two recipes of the graph provide, though `allowed` does not name them: they would overwrite each other's output.
    pub fn conflicts(&self, allowed: &[String]) -> Vec<String> {
        let mut recipes: Vec<usize> = self.graph.nodes.iter().map(|node| node.recipe).collect();
        recipes.sort_unstable();
        recipes.dedup();
        let mut providers: std::collections::BTreeMap<&str, Vec<usize>> = std::collections::BTreeMap::new();
        for index in recipes {
            for item in &self.universe.recipes[index].provides {
                let of_item = providers.entry(item).or_default();
                if !of_item.contains(&index) {
                    of_item.push(index);
                }
            }
        }
        let shared = providers.into_iter().filter(|(item, by)| by.len() > 1 && !allowed.iter().any(|a| a == item));
        shared
            .map(|(item, by)| {
                let files: Vec<&str> = by.iter().map(|index| self.universe.recipes[*index].file.as_str()).collect();
                format!("{} recipes would be built that each provide {item}:\n  {}", files.len(), files.join("\n  "))
            })
            .collect()
    }
}

/// The graph for Graphviz, as BitBake's `task-depends.dot` has it.
pub fn graph_dot(planned: &Planned) -> String {
    let recipes = &planned.universe.recipes;
    let mut lines = Vec::new();
    for node in &planned.graph.nodes {
        let recipe = &recipes[node.recipe];
        let (epoch, version, revision) = &recipe.version;
        let (name, task, file) = (&recipe.name, node.task, &recipe.file);
        lines.push(format!("\"{name}.{task}\" [label=\"{name} {task}\\n{epoch}:{version}-{revision}\\n{file}\"]\n"));
        for dep in &node.depends {
            let other = &planned.graph.nodes[*dep as usize];
            lines.push(format!("\"{name}.{task}\" -> \"{}.{}\"\n", recipes[other.recipe].name, other.task));
        }
    }
    lines.sort();
    format!("digraph depends {{\n{}}}\n", lines.concat())
}

/// The graph for programs.
pub fn graph_json(planned: &Planned) -> Json {
    let id = |index: &u32| planned.graph.id(&planned.universe, *index);
    let order: Vec<Json> = planned
        .graph
        .order
        .iter()
        .map(|index| {
            let node = &planned.graph.nodes[*index as usize];
            let depends: Vec<String> = node.depends.iter().map(id).collect();
            json!({
                "task": id(index), "name": planned.name(*index), "setscene": node.setscene, "depends": depends,
            })
        })
        .collect();
    json!({ "targets": planned.graph.targets.iter().map(id).collect::<Vec<_>>(), "tasks": order })
}
