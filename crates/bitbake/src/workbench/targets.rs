//! Task graphs of targets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Finding, Workbench};
use crate::error::Result;
use crate::graph::{Closure, Hashes, Hashing, Selection, TaskGraph, Universe, hash_tasks_with};
use crate::recipe::RecipeInfo;

/// The tasks of some targets.
pub struct Planned {
    /// All recipes, by what they provide.
    pub universe: Universe,
    /// Those that are needed.
    pub closure: Closure,
    /// Their tasks.
    pub graph: TaskGraph,
}

/// What to plan.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// The targets, as users write them.
    pub targets: &'a [String],
    /// The task of targets that name none; `BB_DEFAULT_TASK` for `None`.
    pub task: Option<&'a str>,
    /// Other tasks of the recipes in their graph, or fewer tasks of it.
    pub selection: Selection,
    /// Go on with the targets that can be built.
    pub keep_going: bool,
}

/// Makes the graph of targets.
pub fn plan(bench: &Workbench, recipes: Vec<Arc<RecipeInfo>>, wanted: &Plan<'_>) -> Result<Planned> {
    plan_in(Universe::new(&bench.dir, recipes)?, wanted)
}

/// Makes the graph of targets over recipes that are indexed.
pub(super) fn plan_in(mut universe: Universe, wanted: &Plan<'_>) -> Result<Planned> {
    let targets = universe.targets(wanted.targets, wanted.task)?;
    let names: Vec<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
    let closure = if wanted.keep_going {
        Closure::keep_going(&mut universe, &names)?
    } else {
        Closure::of(&mut universe, &names)?
    };
    let pairs: Vec<(&str, &str)> = targets.iter().map(|(name, task)| (name.as_str(), task.as_str())).collect();
    let graph = TaskGraph::selected(&universe, &closure, &pairs, &wanted.selection)?;
    Ok(Planned { universe, closure, graph })
}

impl Planned {
    /// The hashes of all tasks, without unified ones from elsewhere.
    pub fn hashes(&mut self) -> Result<Hashes> {
        self.hashes_with(&mut Hashing::default())
    }

    /// The hashes of all tasks.
    pub fn hashes_with(&mut self, hashing: &mut Hashing<'_>) -> Result<Hashes> {
        hash_tasks_with(&mut self.universe, &self.closure, &self.graph, hashing)
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
        format!("{}:{}", self.universe.recipe_name(node.recipe), node.task)
    }

    /// The names of the recipes whose tasks are in the graph, with their configurations, sorted.
    pub fn recipe_names(&self) -> Vec<String> {
        let recipes: BTreeSet<usize> = self.graph.nodes.iter().map(|node| node.recipe).collect();
        let mut names: Vec<String> = recipes.into_iter().map(|recipe| self.universe.recipe_name(recipe)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Items that two recipes of the graph provide, though `allowed` does not name them: they would overwrite each other's output.
    pub fn conflicts(&self, allowed: &[String]) -> Vec<String> {
        let mut recipes: Vec<usize> = self.graph.nodes.iter().map(|node| node.recipe).collect();
        recipes.sort_unstable();
        recipes.dedup();
        let mut providers: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for index in recipes {
            let recipe = &self.universe.recipes[index];
            for item in &recipe.provides {
                let of_item = providers.entry((&recipe.multiconfig, item)).or_default();
                if !of_item.contains(&index) {
                    of_item.push(index);
                }
            }
        }
        let shared = providers.into_iter().filter(|((_, item), by)| by.len() > 1 && !allowed.iter().any(|a| a == item));
        shared
            .map(|((_, item), by)| {
                let files: Vec<&str> = by.iter().map(|index| self.universe.recipes[*index].file.as_str()).collect();
                format!("{} recipes would be built that each provide {item}:\n  {}", files.len(), files.join("\n  "))
            })
            .collect()
    }
}

/// The graph for Graphviz, as BitBake's `task-depends.dot` has it.
pub fn graph_dot(planned: &Planned) -> String {
    let universe = &planned.universe;
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let dotted = |index: u32| {
        let node = &planned.graph.nodes[index as usize];
        format!("{}.{}", universe.recipe_name(node.recipe), node.task)
    };
    for node in &planned.graph.nodes {
        let (name, task) = (universe.recipe_name(node.recipe), node.task);
        // Two recipes of one name look like one; the first is shown.
        let recipe = &universe.recipes[*first.entry(name.clone()).or_insert(node.recipe)];
        let (epoch, version, revision) = &recipe.version;
        let own = format!("{name}.{task}");
        labels.insert(
            own.clone(),
            format!("\"{own}\" [label=\"{name} {task}\\n{epoch}:{version}-{revision}\\n{}\"]\n", recipe.file),
        );
        edges.entry(own).or_default().extend(node.depends.iter().map(|dep| dotted(*dep)));
    }
    let mut out = "digraph depends {\n".to_owned();
    for (name, label) in &labels {
        out.push_str(label);
        let mut depends = edges.remove(name).unwrap_or_default();
        depends.sort_unstable();
        out.extend(depends.iter().map(|dep| format!("\"{name}\" -> \"{dep}\"\n")));
    }
    out.push_str("}\n");
    out
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
