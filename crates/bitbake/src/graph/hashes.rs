//! The hash of every task of a graph.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use fancy_regex::Regex;

use super::closure::Closure;
use super::providers::Universe;
use super::tasks::{TaskGraph, TaskNode};
use crate::error::{Error, Result};
use crate::python::Message;
use crate::recipe::RecipeInfo;
use crate::signature::{
    Equivalences, FileChecksum, FileChecksums, LockCheck, Locks, Pruning, RecipeFacts, SignatureHandler,
    TaskDependency, UnihashCache, is_unihash, taskhash,
};
use crate::{Sym, Text};

/// Directories that checksums of files leave out, unless `BB_SIGNATURE_LOCAL_DIRS_EXCLUDE` says otherwise.
const LEFT_OUT: &str = "CVS .bzr .git .hg .osc .p4 .repo .svn";

/// A task with its hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashedTask {
    /// BitBake's name of the task.
    pub id: String,
    /// The hash of its own metadata.
    pub basehash: Text,
    /// The hash of that, of the tasks it depends on, and of local files.
    pub taskhash: String,
    /// What stands for the taskhash in stamps, in shared state and in the hashes of what depends on the task.
    pub unihash: String,
    /// The variable that locks its hash to [`HashedTask::unihash`], whatever its taskhash is.
    pub locked: Option<String>,
    /// The dependencies that enter the hash, with their own hashes, sorted by name.
    pub depends: Vec<TaskDependency>,
    /// The local files that enter it.
    pub files: Vec<FileChecksum>,
    /// What a forced run left beside its stamp; it enters the hash.
    pub taint: Option<String>,
}

/// What hashing needs besides the graph.
#[derive(Default)]
pub struct Hashing<'a> {
    /// Where unified hashes come from, for the generators that have them. Without it, each is its taskhash.
    pub equivalences: Option<&'a mut dyn Equivalences>,
    /// The unified hashes of earlier runs; those of this run are added.
    pub known: UnihashCache,
    /// Makes the random taint of a `nostamp` task, given its id. Without it such tasks have none, and their hashes can be compared.
    pub nostamp_taint: Option<&'a mut dyn FnMut(&str) -> String>,
    /// The checksums of local files that are known.
    pub checksums: Arc<FileChecksums>,
    /// What an earlier hashing of the same graph came to: tasks for which nothing is other than it was are not hashed again.
    pub before: Option<Before>,
}

/// An earlier hashing of the same graph.
#[derive(Default)]
pub struct Before {
    /// Its tasks, in the order of the graph's nodes.
    pub tasks: Vec<HashedTask>,
    /// The recipes that were read again since, by their index in the universe.
    pub changed: HashSet<usize>,
}

/// The hashes of a graph's tasks.
#[derive(Debug, Default)]
pub struct Hashes {
    /// In the order of the graph's nodes.
    pub tasks: Vec<HashedTask>,
    /// What was noticed: taints, locked signatures that do not fit, servers that cannot be reached.
    pub messages: Vec<Message>,
}

/// Hashes all tasks of a graph, in the order of its nodes, without asking for unified hashes.
pub fn hash_tasks(universe: &mut Universe, closure: &Closure, graph: &TaskGraph) -> Result<Vec<HashedTask>> {
    hash_tasks_with(universe, closure, graph, &mut Hashing::default()).map(|hashes| hashes.tasks)
}

/// Hashes all tasks of a graph as `BB_SIGNATURE_HANDLER` says.
pub fn hash_tasks_with(
    universe: &mut Universe,
    closure: &Closure,
    graph: &TaskGraph,
    hashing: &mut Hashing<'_>,
) -> Result<Hashes> {
    let settings = Settings::read(universe)?;
    // What a server says, what locks say and what is random counts anew each time.
    let plain = hashing.nostamp_taint.is_none() && settings.is_plain();
    let before = hashing.before.take().filter(|before| plain && before.tasks.len() == graph.nodes.len());
    let mut hasher = Hasher::new(universe, closure, graph, settings, Arc::clone(&hashing.checksums));
    hasher.before = before.unwrap_or_default();
    for wave in waves(graph) {
        let mut asked = Vec::new();
        for at in wave {
            hasher.hash(at, hashing)?;
            if hasher.changed[at as usize] && hasher.settle(at, &hashing.known) {
                asked.push(at);
            }
        }
        hasher.ask(&asked, hashing)?;
    }
    hasher.finish()
}

/// Tasks by how many others come before them at least: those of a wave can be hashed, and asked for, together.
fn waves(graph: &TaskGraph) -> Vec<Vec<u32>> {
    let mut depth = vec![0usize; graph.nodes.len()];
    let mut waves: Vec<Vec<u32>> = Vec::new();
    for at in &graph.order {
        let depends = &graph.nodes[*at as usize].depends;
        let own = depends.iter().map(|dep| depth[*dep as usize] + 1).max().unwrap_or(0);
        depth[*at as usize] = own;
        if waves.len() <= own {
            waves.resize_with(own + 1, Vec::new);
        }
        waves[own].push(*at);
    }
    waves
}

/// The variables of the default configuration that say how to hash.
struct Settings {
    handler: SignatureHandler,
    stable: String,
    safe: String,
    left_out: Vec<String>,
    ignored_tasks: Option<Regex>,
    locks: Locks,
    check: LockCheck,
    method: String,
}

impl Settings {
    /// Whether the hash of a task follows from its recipe, its dependencies, files and taint alone.
    fn is_plain(&self) -> bool {
        !self.handler.asks_server() && self.handler != SignatureHandler::Noop && self.locks.is_empty()
    }

    fn read(universe: &mut Universe) -> Result<Self> {
        let mut get = |name: &str| universe.setting(0, name).map(Option::unwrap_or_default);
        let handler = SignatureHandler::named(&get("BB_SIGNATURE_HANDLER")?);
        let left_out = Some(get("BB_SIGNATURE_LOCAL_DIRS_EXCLUDE")?).filter(|text| !text.is_empty());
        let left_out = left_out.unwrap_or_else(|| LEFT_OUT.to_owned());
        let ignored = Some(get("BB_TASKHASH_IGNORE_TASKS")?).filter(|text| !text.is_empty() && !handler.is_oe());
        let ignored_tasks = ignored
            .map(|text| Regex::new(&text).map_err(|error| Error::Fatal(format!("BB_TASKHASH_IGNORE_TASKS: {error}"))))
            .transpose()?;
        let mut locks = Locks::default();
        if handler.is_oe() {
            let mut variables = Vec::new();
            for kind in get("SIGGEN_LOCKEDSIGS_TYPES")?.split_whitespace() {
                let name = format!("SIGGEN_LOCKEDSIGS_{kind}");
                let value = get(&name)?;
                variables.push((name, value));
            }
            locks = Locks::new(&variables, &get("SIGGEN_UNLOCKED_RECIPES")?, &get("SIGGEN_UNIHASHMAP")?)
                .map_err(|error| Error::Fatal(error.to_string()))?;
        }
        let method = get("SSTATE_HASHEQUIV_METHOD")?;
        let method = if handler == SignatureHandler::TestEquivHash { "sstate_output_hash".to_owned() } else { method };
        if handler == SignatureHandler::OeEquivHash && method.is_empty() {
            return Err(Error::Fatal("OEEquivHash needs SSTATE_HASHEQUIV_METHOD, which is not set".into()));
        }
        Ok(Self {
            handler,
            stable: get("SIGGEN_EXCLUDERECIPES_ABISAFE")?,
            safe: get("SIGGEN_EXCLUDE_SAFE_RECIPE_DEPS")?,
            left_out: left_out.split_whitespace().map(str::to_owned).collect(),
            ignored_tasks,
            locks,
            check: LockCheck::named(&get("SIGGEN_LOCKEDSIGS_TASKSIG_CHECK")?),
            method,
        })
    }
}

struct Hasher<'a> {
    universe: &'a Universe,
    graph: &'a TaskGraph,
    settings: Settings,
    pruning: Pruning,
    facts: HashMap<usize, RecipeFacts>,
    basehashes: HashMap<(usize, Sym), Text>,
    checksums: Arc<FileChecksums>,
    /// Lists of files whose checksums are taken in this run.
    lists: HashMap<&'a str, Vec<FileChecksum>>,
    /// Recipes → whether the directory of their stamps is there.
    stamped: HashMap<usize, bool>,
    before: Before,
    /// Tasks whose unified hash is not the one of before.
    changed: Vec<bool>,
    /// Whether any task of the graph has a setscene variant: only such tasks have unified hashes then.
    setscene: bool,
    hashes: Hashes,
    mismatches: Vec<String>,
}

impl<'a> Hasher<'a> {
    fn new(
        universe: &'a Universe,
        closure: &Closure,
        graph: &'a TaskGraph,
        settings: Settings,
        checksums: Arc<FileChecksums>,
    ) -> Self {
        let provider = |item: &str| {
            let recipe = closure.parts.iter().find_map(|part| part.build.chosen(item))?;
            item.starts_with("virtual/").then(|| universe.recipes[recipe].name.clone())
        };
        let pruning = Pruning::new(&settings.stable, &settings.safe, provider);
        let mut facts: HashMap<usize, RecipeFacts> = HashMap::new();
        let mut basehashes = HashMap::new();
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
        let tasks = vec![HashedTask::default(); graph.nodes.len()];
        Self {
            universe,
            graph,
            settings,
            pruning,
            facts,
            basehashes,
            checksums,
            lists: HashMap::new(),
            stamped: HashMap::new(),
            before: Before::default(),
            changed: vec![true; graph.nodes.len()],
            setscene: graph.nodes.iter().any(|node| node.setscene),
            hashes: Hashes { tasks, messages: Vec::new() },
            mismatches: Vec::new(),
        }
    }

    fn node(&self, at: u32) -> &'a TaskNode {
        &self.graph.nodes[at as usize]
    }

    fn keeps(&self, node: &TaskNode, other: &TaskNode) -> bool {
        let (own, dependency) = (&self.facts[&node.recipe], &self.facts[&other.recipe]);
        if self.settings.handler.is_oe() {
            return self.pruning.keeps(own, node.task.as_str(), dependency, other.task.as_str());
        }
        let Some(ignored) = &self.settings.ignored_tasks else { return true };
        let matches = |facts: &RecipeFacts| ignored.is_match(&facts.name).unwrap_or(false);
        matches(own) || !matches(dependency)
    }

    /// The taskhash of a task whose dependencies have their unified hashes.
    fn hash(&mut self, at: u32, hashing: &mut Hashing<'_>) -> Result<()> {
        let node = self.node(at);
        let recipe = &self.universe.recipes[node.recipe];
        if self.settings.handler == SignatureHandler::Noop {
            let id = self.graph.id(self.universe, at);
            let basehash = self.basehashes.get(&(node.recipe, node.task)).cloned().unwrap_or_default();
            let taskhash = taskhash(&id, &[], &[], None);
            self.hashes.tasks[at as usize] = HashedTask { id, basehash, taskhash, ..HashedTask::default() };
            return Ok(());
        }
        let files = self.files_of(recipe, node.task)?;
        let nostamp = recipe.tasks.flags.get("nostamp").is_some_and(|tasks| tasks.contains_key(node.task.as_str()));
        let mut taint = match &mut hashing.nostamp_taint {
            Some(random) if nostamp => Some(format!("nostamp:{}", random(&self.graph.id(self.universe, at)))),
            _ => None,
        };
        if let Some(forced) = self.forced(node) {
            let text = format!("{} is tainted from a forced run", self.graph.id(self.universe, at));
            self.hashes.messages.push(Message { level: 30, text });
            taint = Some(forced);
        }
        if let Some(before) = self.before.tasks.get_mut(at as usize)
            && !self.before.changed.contains(&node.recipe)
            && before.files == files
            && before.taint == taint
            && !node.depends.iter().any(|dep| self.changed[*dep as usize])
        {
            self.hashes.tasks[at as usize] = std::mem::take(before);
            self.changed[at as usize] = false;
            return Ok(());
        }
        let id = self.graph.id(self.universe, at);
        let mut depends = Vec::new();
        for dep in &node.depends {
            let other = self.node(*dep);
            if self.keeps(node, other) {
                let hashed = &self.hashes.tasks[*dep as usize];
                let name = format!("{}:{}", self.universe.recipe_name(other.recipe), other.task);
                depends.push(TaskDependency { name, id: hashed.id.clone(), unihash: hashed.unihash.clone() });
            }
        }
        depends.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let Some(basehash) = self.basehashes.get(&(node.recipe, node.task)).cloned() else {
            return Err(Error::Fatal(format!("{id} has no basehash: its recipe was read without signing")));
        };
        let taskhash = taskhash(&basehash, &depends, &files, taint.as_deref());
        self.hashes.tasks[at as usize] =
            HashedTask { id, basehash, taskhash, depends, files, taint, ..HashedTask::default() };
        Ok(())
    }

    /// The checksums of the local files that a task reads.
    fn files_of(&mut self, recipe: &'a RecipeInfo, task: Sym) -> Result<Vec<FileChecksum>> {
        let Some(list) = recipe.file_checksums.get(task.as_str()) else { return Ok(Vec::new()) };
        if let Some(known) = self.lists.get(&**list) {
            return Ok(known.clone());
        }
        let found = self.checksums.of_list(list, &self.settings.left_out);
        let found = found.map_err(|error| Error::Fatal(format!("{}:{task}: {error}", recipe.file)))?;
        self.lists.insert(list, found.clone());
        Ok(found)
    }

    /// What a forced run left behind.
    fn forced(&mut self, node: &TaskNode) -> Option<String> {
        let stamp = &self.universe.recipes[node.recipe].stamp;
        let there = || Path::new(stamp).parent().is_some_and(Path::is_dir);
        let stamped = *self.stamped.entry(node.recipe).or_insert_with(there);
        stamped.then(|| read_taint(stamp, node.task)).flatten()
    }

    /// Gives a task its unified hash, as far as that is known here; true when it must be asked for.
    fn settle(&mut self, at: u32, known: &UnihashCache) -> bool {
        let node = self.node(at);
        let recipe = &self.universe.recipes[node.recipe];
        let task = node.task.as_str();
        let hashed = &self.hashes.tasks[at as usize];
        let mut own = hashed.taskhash.clone();
        let mut ask = false;
        if let Some(unified) = self.settings.locks.unified(&recipe.name, task, &own) {
            unified.clone_into(&mut own);
        } else if self.settings.handler.asks_server() && (node.setscene || !self.setscene) {
            match known.get(&recipe.multiconfig, &recipe.name, task, &own) {
                Some(unihash) => unihash.clone_into(&mut own),
                None => ask = true,
            }
        }
        let graph = self.graph;
        let same =
            |dep: &&u32| self.universe.recipes[graph.nodes[**dep as usize].recipe].multiconfig == recipe.multiconfig;
        let name = |dep: &u32| self.universe.recipes[graph.nodes[*dep as usize].recipe].name.as_str();
        let depends = node.depends.iter().filter(same).map(name);
        let lock = self.settings.locks.of_task(&recipe.name, task, depends);
        let hashed = &mut self.hashes.tasks[at as usize];
        if let Some(lock) = lock {
            if hashed.taskhash != lock.hash && lock.hash != own {
                self.mismatches.push(format!(
                    "{}:{task} has the hash {}, and {} locks it to {}",
                    recipe.name, hashed.taskhash, lock.variable, lock.hash
                ));
            }
            hashed.unihash = lock.hash;
            hashed.locked = Some(lock.variable);
            return false;
        }
        if let Some(before) = self.before.tasks.get(at as usize) {
            self.changed[at as usize] = before.unihash != own;
        }
        hashed.unihash = own;
        ask
    }

    /// Asks for the unified hashes of tasks, all at once.
    fn ask(&mut self, asked: &[u32], hashing: &mut Hashing<'_>) -> Result<()> {
        let Some(server) = hashing.equivalences.as_deref_mut().filter(|_| !asked.is_empty()) else { return Ok(()) };
        let method = self.settings.method.as_str();
        let queries: Vec<(&str, &str)> =
            asked.iter().map(|at| (method, self.hashes.tasks[*at as usize].taskhash.as_str())).collect();
        let answers = match server.unihashes(&queries) {
            Ok(answers) => answers,
            Err(reason) => {
                let text = format!("no unified hashes from {}: {reason}", server.address());
                if !self.hashes.messages.iter().any(|message| message.text == text) {
                    self.hashes.messages.push(Message { level: 30, text });
                }
                return Ok(());
            }
        };
        for (at, answer) in asked.iter().zip(answers) {
            let node = &self.graph.nodes[*at as usize];
            let recipe = &self.universe.recipes[node.recipe];
            let hashed = &mut self.hashes.tasks[*at as usize];
            if let Some(unihash) = answer {
                if !is_unihash(&unihash) {
                    let address = server.address();
                    return Err(Error::Fatal(format!("{address} calls {unihash:?} the unified hash of {}", hashed.id)));
                }
                hashed.unihash = unihash;
            }
            let task = node.task.as_str();
            hashing.known.set(&recipe.multiconfig, &recipe.name, task, &hashed.taskhash, &hashed.unihash);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Hashes> {
        let locked = self.settings.locks.recipes();
        if self.settings.check == LockCheck::Info && !locked.is_empty() {
            let names: Vec<&str> = locked.into_iter().collect();
            let text = format!(
                "{} recipes have locked tasks, {} of which have another hash: {}",
                names.len(),
                self.mismatches.len(),
                names.join(" ")
            );
            self.hashes.messages.push(Message { level: 20, text });
        }
        match self.settings.check {
            LockCheck::Ignore => {}
            LockCheck::Info | LockCheck::Warn => {
                self.hashes.messages.extend(self.mismatches.into_iter().map(|text| Message { level: 30, text }));
            }
            LockCheck::Error if self.mismatches.is_empty() => {}
            LockCheck::Error => return Err(Error::Fatal(self.mismatches.join("\n"))),
        }
        Ok(self.hashes)
    }
}

/// What a forced run left behind.
fn read_taint(stamp: &str, task: Sym) -> Option<String> {
    if stamp.is_empty() {
        return None;
    }
    std::fs::read_to_string(format!("{stamp}.{task}.taint")).ok().filter(|taint| !taint.is_empty())
}
