//! The hash of every task of a graph.

use std::collections::HashMap;

use super::closure::Closure;
use super::providers::Universe;
use super::tasks::TaskGraph;
use crate::error::{Error, Result};
use crate::signature::{FileChecksum, FileChecksums, Pruning, RecipeFacts, TaskDependency, taskhash};
use crate::{Sym, Text};

/// A task with its hashes.
#[derive(Clone, Debug, Default)]
pub struct HashedTask {
    /// BitBake's name of the task.
    pub id: String,
    /// The hash of its own metadata.
    pub basehash: Text,
    /// The hash of that, of the tasks it depends on, and of local files.
    pub taskhash: String,
    /// The dependencies that enter the hash, with their own hashes, sorted by name.
    pub depends: Vec<TaskDependency>,
    /// The local files that enter it.
    pub files: Vec<FileChecksum>,
}

/// Hashes all tasks of a graph, in the order of its nodes.
pub fn hash_tasks(universe: &mut Universe, closure: &Closure, graph: &TaskGraph) -> Result<Vec<HashedTask>> {
    hash_tasks_with(universe, closure, graph, &FileChecksums::default())
}

/// The same, with checksums that are known already.
pub fn hash_tasks_with(
    universe: &mut Universe,
    closure: &Closure,
    graph: &TaskGraph,
    checksums: &FileChecksums,
) -> Result<Vec<HashedTask>> {
    let stable = universe.setting(0, "SIGGEN_EXCLUDERECIPES_ABISAFE")?.unwrap_or_default();
    let safe = universe.setting(0, "SIGGEN_EXCLUDE_SAFE_RECIPE_DEPS")?.unwrap_or_default();
    let excluded: Vec<String> = universe
        .setting(0, "BB_SIGNATURE_LOCAL_DIRS_EXCLUDE")?
        .unwrap_or_else(|| "CVS .bzr .git .hg .osc .p4 .repo .svn".to_owned())
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let universe = &*universe;
    let provider = |item: &str| {
        let recipe = closure.parts.iter().find_map(|part| part.build.chosen(item))?;
        item.starts_with("virtual/").then(|| universe.recipes[recipe].name.clone())
    };
    let pruning = Pruning::new(&stable, &safe, provider);
    let mut facts: HashMap<usize, RecipeFacts> = HashMap::new();
    let mut basehashes: HashMap<(usize, Sym), Text> = HashMap::new();
    for node in &graph.nodes {
        let recipe = &universe.recipes[node.recipe];
        facts.entry(node.recipe).or_insert_with(|| {
            for signature in &recipe.signatures {
                basehashes.insert((node.recipe, signature.task), Text::clone(&signature.basehash));
            }
            RecipeFacts::new(
                &recipe.name,
                &recipe.multiconfig,
                recipe.inherits.iter().map(|class| &**class),
                recipe.recommends.iter().map(String::as_str),
            )
        });
    }
    let mut result: Vec<HashedTask> = vec![HashedTask::default(); graph.nodes.len()];
    for at in &graph.order {
        let node = &graph.nodes[*at as usize];
        let recipe = &universe.recipes[node.recipe];
        let mut depends = Vec::new();
        for dep in &node.depends {
            let other = &graph.nodes[*dep as usize];
            if pruning.keeps(&facts[&node.recipe], node.task.as_str(), &facts[&other.recipe], other.task.as_str()) {
                let hashed = &result[*dep as usize];
                let name = format!("{}:{}", universe.recipe_name(other.recipe), other.task);
                depends.push(TaskDependency { name, id: hashed.id.clone(), unihash: hashed.taskhash.clone() });
            }
        }
        depends.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let files = match recipe.file_checksums.get(node.task.as_str()) {
            Some(list) => checksums
                .of_list(list, &excluded)
                .map_err(|error| Error::Fatal(format!("{}:{}: {error}", recipe.file, node.task)))?,
            None => Vec::new(),
        };
        let id = graph.id(universe, *at);
        let Some(basehash) = basehashes.get(&(node.recipe, node.task)).cloned() else {
            return Err(Error::Fatal(format!("{id} has no basehash: its recipe was read without signing")));
        };
        let taskhash = taskhash(&basehash, &depends, &files, None);
        result[*at as usize] = HashedTask { id, basehash, taskhash, depends, files };
    }
    Ok(result)
}
