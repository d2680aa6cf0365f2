//! What is made of recipes, from one question to the next: the table of providers, graphs, hashes.
//!
//! A recipe that was read again takes its place in the tables if it is the same to whoever makes graphs, and its tasks are hashed again;
//! of the tasks that depend on them, those that see another hash. Anything else makes the tables and graphs anew.

use std::collections::HashSet;
use std::sync::Arc;

use super::targets::plan_in;
use super::{Finding, Plan, Planned, Workbench};
use crate::error::Result;
use crate::graph::{Before, Closure, HashedTask, TaskGraph, Universe};
use crate::recipe::RecipeInfo;

/// Graphs that are kept.
const GRAPHS: usize = 3;

/// What is made of recipes.
#[derive(Default)]
pub struct Kept {
    /// All variants, in the order they were read.
    recipes: Vec<Arc<RecipeInfo>>,
    universe: Option<Universe>,
    graphs: Vec<Resting>,
    /// Counts how often anything changed: files that hashes depend on are looked at again after each time.
    changes: u64,
}

/// The graph of some targets, without the table of providers that all share.
struct Resting {
    targets: Vec<String>,
    closure: Closure,
    graph: TaskGraph,
    findings: Vec<Finding>,
    changed: HashSet<usize>,
    hashed: Option<Hashed>,
}

/// The graph of some targets.
pub(super) struct Graph {
    targets: Vec<String>,
    pub(super) planned: Planned,
    /// What was noticed while it was made.
    pub(super) findings: Vec<Finding>,
    /// Recipes that were read again since its tasks were hashed, by their index in the universe.
    changed: HashSet<usize>,
    /// See [`Kept::hash`].
    pub(super) hashed: Option<Hashed>,
}

/// Hashes of a graph's tasks.
pub(super) struct Hashed {
    pub(super) tasks: Vec<HashedTask>,
    /// What was noticed while they were made.
    pub(super) findings: Vec<Finding>,
    /// The short list of them.
    pub(super) text: String,
    /// As of which change.
    as_of: u64,
}

impl Kept {
    /// Takes note that something changed.
    pub(super) fn something_changed(&mut self) {
        self.changes += 1;
    }

    /// Takes the recipes as they are now.
    pub(super) fn take(&mut self, bench: &Workbench, recipes: Vec<Arc<RecipeInfo>>) -> Result<&mut Universe> {
        if self.universe.is_none() || !self.replace(&recipes) {
            self.graphs.clear();
            self.universe = None;
            self.recipes.clone_from(&recipes);
            return Ok(self.universe.insert(Universe::new(&bench.dir, recipes)?));
        }
        let universe = self.universe.as_mut().expect("it was looked at above");
        universe.wake(&bench.dir);
        Ok(universe)
    }

    /// Puts recipes in the places of those that they were read again from; false where the tables would be others.
    fn replace(&mut self, recipes: &[Arc<RecipeInfo>]) -> bool {
        let Some(universe) = &mut self.universe else { return false };
        if recipes.len() != self.recipes.len() {
            return false;
        }
        let mut index = 0;
        for (old, new) in self.recipes.iter_mut().zip(recipes) {
            let own = index;
            index += usize::from(new.skipped.is_none());
            if Arc::ptr_eq(old, new) {
                continue;
            }
            if !old.is_same_in_graphs(new) {
                return false;
            }
            if new.skipped.is_none() {
                for graph in &mut self.graphs {
                    graph.changed.insert(own);
                }
                universe.replace(own, Arc::clone(new));
            }
            *old = Arc::clone(new);
        }
        true
    }

    /// The graph of targets: the one that is kept, or a new one. To be put back.
    pub(super) fn plan(
        &mut self,
        bench: &Workbench,
        recipes: Vec<Arc<RecipeInfo>>,
        targets: &[String],
    ) -> Result<Graph> {
        self.take(bench, recipes)?;
        let mut universe = self.universe.take().expect("it was just taken or made");
        if let Some(at) = self.graphs.iter().position(|graph| graph.targets == targets) {
            let Resting { targets, closure, graph, findings, changed, hashed } = self.graphs.remove(at);
            return Ok(Graph { targets, planned: Planned { universe, closure, graph }, findings, changed, hashed });
        }
        universe.take_messages();
        let mut planned = plan_in(universe, &Plan { targets, ..Plan::default() })?;
        let findings = planned.findings(bench)?;
        Ok(Graph { targets: targets.to_vec(), planned, findings, changed: HashSet::new(), hashed: None })
    }

    /// Keeps a graph for the next question.
    pub(super) fn put_back(&mut self, bench: &Workbench, graph: Graph) {
        let Graph { targets, planned: Planned { universe, closure, graph }, findings, changed, hashed } = graph;
        self.universe = Some(universe);
        self.rest(bench);
        if self.universe.is_none() {
            return;
        }
        self.graphs.push(Resting { targets, closure, graph, findings, changed, hashed });
        if self.graphs.len() > GRAPHS {
            self.graphs.remove(0);
        }
    }

    /// Puts the table of providers to rest after [`Kept::take`], or away where it does not last.
    pub(super) fn rest(&mut self, bench: &Workbench) {
        let Some(universe) = &mut self.universe else { return };
        let lasts = universe.lasts();
        universe.rest(&bench.dir);
        if !lasts {
            self.universe = None;
            self.graphs.clear();
        }
    }

    /// The hashes of a graph as files are now.
    pub(super) fn hash<'a>(&self, bench: &Workbench, graph: &'a mut Graph) -> Result<&'a Hashed> {
        let before = graph.hashed.take();
        let is_current =
            |hashed: &Hashed| hashed.as_of == self.changes && graph.changed.is_empty() && !bench.asks_server();
        let hashed = match before {
            Some(hashed) if is_current(&hashed) => hashed,
            before => {
                let changed = std::mem::take(&mut graph.changed);
                let before = before.map(|hashed| Before { tasks: hashed.tasks, changed });
                let (tasks, findings) = bench.hashes_since(&mut graph.planned, before)?;
                let mut text = String::with_capacity(tasks.len() * 256);
                for task in &tasks {
                    for part in [&*task.basehash, " ", &task.taskhash, " ", &task.id, "\n"] {
                        text.push_str(part);
                    }
                }
                Hashed { tasks, findings, text, as_of: self.changes }
            }
        };
        Ok(graph.hashed.insert(hashed))
    }
}
