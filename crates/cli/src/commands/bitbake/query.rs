//! `buildnet query` over the task graph of recipes.

use std::collections::{BTreeSet, HashMap};

use buildnet_bitbake::workbench::Question;
use buildnet_daemon::ErrorReport;
use buildnet_workspace::{Query, QueryGraph};
use serde::Deserialize;

use super::place::{Place, Stop};

/// What marks a name as a recipe's or a task's.
pub(crate) const PREFIX: &str = "bitbake:";

/// The tasks that a query may speak of, as `buildnet bitbake graph` tells them.
#[derive(Deserialize)]
pub(crate) struct Tasks {
    tasks: Vec<Task>,
    /// The task of each target, as `FILE:TASK`.
    targets: Vec<String>,
    #[serde(skip)]
    by_id: HashMap<String, usize>,
    /// Target → its task.
    #[serde(skip)]
    aliases: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Task {
    /// FILE:TASK
    task: String,
    /// RECIPE:TASK
    name: String,
    setscene: bool,
    depends: Vec<String>,
}

impl Task {
    fn recipe(&self) -> &str {
        self.name.rsplit_once(':').map_or("", |(recipe, _)| recipe)
    }

    fn own(&self) -> &str {
        self.name.rsplit_once(':').map_or("", |(_, task)| task)
    }
}

impl Tasks {
    /// Asks for the graph of what a query names, and of `universe`.
    pub(crate) fn of(query: &Query, universe: &[String], place: &Place) -> Result<Self, Stop> {
        let plain = |name: &&str| !name.contains(['*', '?', '[', '{']);
        let names = query.names().into_iter().map(|name| name.strip_prefix(PREFIX).unwrap_or(name));
        let mut targets: BTreeSet<String> = universe.iter().cloned().collect();
        // What is named is part of the universe if that is given, or else makes it.
        if universe.is_empty() {
            targets.extend(names.filter(plain).map(str::to_owned));
        }
        if targets.is_empty() {
            let report = ErrorReport::user("the query names no recipe").with_hint(
                "Name one, or say in which graph to look: --universe core-image-minimal, or --universe world.",
            );
            return Err(report.into());
        }
        let targets: Vec<String> = targets.into_iter().collect();
        let quiet = Place { machine: false, ..place.clone() };
        let answer = quiet.ask(&Question::Graph { targets: targets.clone(), dot: false })?;
        if answer.failed {
            return Err(Stop::Told);
        }
        let mut tasks: Self = serde_json::from_str(&answer.text)
            .map_err(|error| ErrorReport::internal("the graph cannot be read").because(&error))?;
        tasks.by_id = tasks.tasks.iter().map(|task| task.task.clone()).zip(0..).collect();
        if targets.len() == tasks.targets.len() {
            tasks.aliases = targets.into_iter().zip(tasks.targets.iter().cloned()).collect();
        }
        // Two recipes of one name: the second goes by its file.
        let mut seen = BTreeSet::new();
        for task in &mut tasks.tasks {
            if !seen.insert(task.name.clone()) {
                task.name.clone_from(&task.task);
            }
        }
        Ok(tasks)
    }

    /// The recipes of these tasks, each once, in the order of the tasks.
    pub(crate) fn recipes(&self, chosen: &[usize]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let recipes = chosen.iter().map(|task| self.tasks[*task].recipe());
        recipes.filter(|recipe| seen.insert(*recipe)).map(str::to_owned).collect()
    }
}

impl QueryGraph for Tasks {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn noun(&self) -> &'static str {
        "task or recipe in this graph"
    }

    fn name(&self, node: usize) -> String {
        self.tasks[node].name.clone()
    }

    fn depends_on(&self, node: usize) -> Vec<usize> {
        self.tasks[node].depends.iter().filter_map(|id| self.by_id.get(id).copied()).collect()
    }

    fn plain<'w>(&self, word: &'w str) -> &'w str {
        word.strip_prefix(PREFIX).unwrap_or(word)
    }

    fn group(&self, name: &str) -> Vec<usize> {
        let full = name.rsplit_once(':').map(|(recipe, task)| format!("{recipe}:do_{task}"));
        // What a target is provided by goes by the target's name, too.
        let provider = self.aliases.get(name).and_then(|id| self.by_id.get(id)).map(|node| &self.tasks[*node]);
        let without = name.strip_prefix("mc:").and_then(|rest| rest.split_once(':')).map_or(name, |(_, rest)| rest);
        let is_meant = |task: &Task| match provider {
            Some(provider) if without.contains(':') => task.task == provider.task,
            Some(provider) => task.recipe() == provider.recipe(),
            None => task.recipe() == name || task.task == name || full.as_ref().is_some_and(|full| task.name == *full),
        };
        (0..self.tasks.len()).filter(|node| is_meant(&self.tasks[*node])).collect()
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["name", "recipe", "task", "file"]
    }

    fn attribute(&self, node: usize, attribute: &str) -> Vec<String> {
        let task = &self.tasks[node];
        let value = match attribute {
            "name" => &task.name,
            "recipe" => task.recipe(),
            "task" => task.own(),
            "kind" => return vec![if task.setscene { "setscene" } else { "plain" }.to_owned()],
            _ => task.task.rsplit_once(':').map_or("", |(file, _)| file),
        };
        vec![value.to_owned()]
    }
}
