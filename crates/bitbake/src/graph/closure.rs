//! The recipes that targets need, with everything that cannot be provided taken out.

use std::collections::{HashMap, HashSet};

use super::providers::{Item, Universe};
use crate::error::{Error, Result};
use crate::{Sym, Text};

/// Items in the order they were first seen, each with its providers, best first.
#[derive(Debug, Default)]
pub(super) struct Items {
    names: Vec<String>,
    providers: HashMap<String, Vec<usize>>,
    failed: HashSet<String>,
}

impl Items {
    fn see(&mut self, name: &str) {
        if !self.providers.contains_key(name) {
            self.names.push(name.to_owned());
            self.providers.insert(name.to_owned(), Vec::new());
        }
    }

    /// The provider that is built, if any.
    pub(super) fn chosen(&self, name: &str) -> Option<usize> {
        self.providers.get(name)?.first().copied()
    }

    pub(super) fn has_failed(&self, name: &str) -> bool {
        self.failed.contains(name)
    }

    fn add(&mut self, name: &str, recipe: usize) {
        self.see(name);
        if let Some(providers) = self.providers.get_mut(name)
            && !providers.contains(&recipe)
        {
            providers.push(recipe);
        }
    }

    /// Takes a recipe away; names the items that nothing provides any more.
    fn remove(&mut self, recipe: usize) -> Vec<String> {
        let mut emptied = Vec::new();
        for name in &self.names {
            if let Some(providers) = self.providers.get_mut(name)
                && let Some(at) = providers.iter().position(|r| *r == recipe)
            {
                providers.remove(at);
                if providers.is_empty() {
                    emptied.push(name.clone());
                }
            }
        }
        emptied
    }

    /// The items that still need a provider.
    fn unresolved(&self, universe: &Universe, configuration: usize) -> Vec<String> {
        let open = |name: &&String| {
            self.chosen(name).is_none() && !self.has_failed(name) && !universe.assumes(Item { configuration, name })
        };
        self.names.iter().filter(open).cloned().collect()
    }
}

/// What one configuration's recipes need.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) build: Items,
    pub(super) runtime: Items,
    /// What the `mcdepends` flags of all its tasks name, each once: every task that has the flag depends on all of it.
    pub(super) foreign: Vec<Foreign>,
}

/// One word of an `mcdepends` flag: `mc:FROM:TO:ITEM:TASK`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Foreign {
    pub(super) from: String,
    pub(super) to: usize,
    pub(super) item: String,
    pub(super) task: Sym,
}

/// `RECIPE:TASK` entries of a `depends` or `rdepends` flag.
type Needs = Vec<(String, Sym)>;

/// The recipes that targets need.
#[derive(Debug, Default)]
pub struct Closure {
    /// One per configuration.
    pub(super) parts: Vec<Part>,
    /// The recipes in the order they were found.
    pub(super) recipes: Vec<usize>,
    seen: HashSet<usize>,
    pub(super) failed: HashSet<usize>,
    /// (recipe, task) → what its `depends` flag names.
    pub(super) needs: HashMap<(usize, Sym), Needs>,
    /// The same of `rdepends`.
    pub(super) runtime_needs: HashMap<(usize, Sym), Needs>,
    /// What nothing provides, in words.
    pub problems: Vec<String>,
    targets: Vec<String>,
}

impl Closure {
    /// Follows the needs of targets. A target that nothing provides is an error.
    pub fn of(universe: &mut Universe, targets: &[&str]) -> Result<Self> {
        Self::follow(universe, targets, false)
    }

    /// The same, but a target that nothing provides is among the problems, as BitBake's `-k` has it.
    pub fn keep_going(universe: &mut Universe, targets: &[&str]) -> Result<Self> {
        Self::follow(universe, targets, true)
    }

    fn follow(universe: &mut Universe, targets: &[&str], keep_going: bool) -> Result<Self> {
        let mut closure =
            Self { targets: targets.iter().map(|target| (*target).to_owned()).collect(), ..Self::default() };
        closure.parts.resize_with(universe.configurations.len(), Part::default);
        let mut missing = Vec::new();
        for target in targets {
            let Some(item) = universe.item(target) else {
                let (configuration, _) = crate::recipe::split_multiconfig(target);
                missing.push(format!("{target}: there is no multiconfig {configuration} in BBMULTICONFIG"));
                continue;
            };
            if !universe.is_assumed(target) && !universe.is_provided(target) {
                let mut message = format!("nothing provides {target}");
                let reasons = universe.skip_reasons(target);
                let close = if reasons.is_empty() { universe.close_to(item) } else { Vec::new() };
                if !close.is_empty() {
                    message.push_str(". Close matches:");
                }
                for line in reasons.iter().chain(&close) {
                    message.extend([format!("\n  {line}")]);
                }
                missing.push(message);
                continue;
            }
            closure.provide(universe, item)?;
        }
        if keep_going {
            closure.problems.append(&mut missing);
        } else if !missing.is_empty() {
            return Err(Error::Fatal(missing.join("\n")));
        }
        closure.resolve(universe)?;
        if !keep_going {
            for target in targets {
                if universe
                    .item(target)
                    .is_some_and(|item| closure.parts[item.configuration].build.has_failed(item.name))
                {
                    return Err(Error::Fatal(format!("{target} cannot be built:\n{}", closure.problems.join("\n"))));
                }
            }
        }
        Ok(closure)
    }

    /// Whether a recipe is part of the build.
    pub fn contains(&self, recipe: usize) -> bool {
        self.seen.contains(&recipe) && !self.failed.contains(&recipe)
    }

    /// The recipe that provides a build-time item here, the item written as in [`Universe`].
    pub fn provider(&self, universe: &Universe, item: &str) -> Option<usize> {
        let item = universe.item(item)?;
        self.parts[item.configuration].build.chosen(item.name)
    }

    /// Finds providers until everything has one, also of what tasks need of other configurations.
    fn resolve(&mut self, universe: &mut Universe) -> Result<()> {
        let mut asked: HashSet<Foreign> = HashSet::new();
        loop {
            for configuration in 0..self.parts.len() {
                while self.resolve_round(universe, configuration)? {}
            }
            let new: Vec<Foreign> = self
                .parts
                .iter()
                .flat_map(|part| &part.foreign)
                .filter(|need| !asked.contains(need))
                .cloned()
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            for need in new {
                self.provide(universe, Item { configuration: need.to, name: &need.item })?;
                asked.insert(need);
            }
        }
    }

    /// One round over everything of a configuration that has no provider yet; false when nothing was added.
    fn resolve_round(&mut self, universe: &mut Universe, configuration: usize) -> Result<bool> {
        let mut added = false;
        for name in self.parts[configuration].build.unresolved(universe, configuration) {
            added |= self.provide(universe, Item { configuration, name: &name })?;
        }
        for name in self.parts[configuration].runtime.unresolved(universe, configuration) {
            added |= self.provide_runtime(universe, Item { configuration, name: &name })?;
        }
        Ok(added)
    }

    fn provide(&mut self, universe: &mut Universe, item: Item<'_>) -> Result<bool> {
        if universe.assumes(item) || self.parts[item.configuration].build.chosen(item.name).is_some() {
            return Ok(true);
        }
        let mut eligible = universe.providers_of(item)?;
        eligible.retain(|recipe| !self.failed.contains(recipe));
        if eligible.is_empty() {
            self.fail_item(universe, item, false);
            return Ok(false);
        }
        for recipe in eligible {
            if !self.failed.contains(&recipe) {
                self.parts[item.configuration].build.add(item.name, recipe);
                self.add_recipe(universe, recipe)?;
            }
        }
        Ok(true)
    }

    fn provide_runtime(&mut self, universe: &mut Universe, item: Item<'_>) -> Result<bool> {
        if self.parts[item.configuration].runtime.chosen(item.name).is_some() {
            return Ok(true);
        }
        let mut eligible = universe.runtime_providers_of(item)?.unwrap_or_default();
        eligible.retain(|recipe| !self.failed.contains(recipe));
        if eligible.is_empty() {
            self.fail_item(universe, item, true);
            return Ok(false);
        }
        for recipe in eligible {
            if !self.failed.contains(&recipe) {
                self.parts[item.configuration].runtime.add(item.name, recipe);
                self.add_recipe(universe, recipe)?;
            }
        }
        Ok(true)
    }

    fn add_recipe(&mut self, universe: &Universe, index: usize) -> Result<()> {
        if !self.seen.insert(index) {
            return Ok(());
        }
        self.recipes.push(index);
        let configuration = universe.configuration_of(index);
        let recipe = &universe.recipes[index];
        let part = &mut self.parts[configuration];
        for task in &recipe.tasks.tasks {
            let flag = |flag: &str| recipe.tasks.flags.get(flag).and_then(|by_task| by_task.get(task.as_str()));
            for (name, runtime) in [("depends", false), ("rdepends", true)] {
                let needs = flag_needs(&recipe.file, *task, name, flag(name))?;
                for (item, _) in &needs {
                    if runtime { part.runtime.see(item) } else { part.build.see(item) }
                }
                if !needs.is_empty() {
                    let all = if runtime { &mut self.runtime_needs } else { &mut self.needs };
                    all.insert((index, *task), needs);
                }
            }
            for word in flag("mcdepends").map(|text| &**text).unwrap_or_default().split_whitespace() {
                let need = foreign(universe, &recipe.file, *task, word)?;
                if !part.foreign.contains(&need) {
                    part.foreign.push(need);
                }
            }
        }
        for item in &recipe.depends {
            self.parts[configuration].build.see(item);
            if self.parts[configuration].build.has_failed(item) {
                self.fail_recipe(universe, index);
                return Ok(());
            }
        }
        for item in &recipe.runtime_depends {
            self.parts[configuration].runtime.see(item);
            if self.parts[configuration].runtime.has_failed(item) {
                self.fail_recipe(universe, index);
                return Ok(());
            }
        }
        Ok(())
    }

    fn fail_item(&mut self, universe: &Universe, item: Item<'_>, runtime: bool) {
        let part = &mut self.parts[item.configuration];
        let items = if runtime { &mut part.runtime } else { &mut part.build };
        if !items.failed.insert(item.name.to_owned()) {
            return;
        }
        let mut dependents: Vec<usize> = Vec::new();
        for index in self.recipes.iter().filter(|index| universe.configuration_of(**index) == item.configuration) {
            let recipe = &universe.recipes[*index];
            let list = if runtime { &recipe.runtime_depends } else { &recipe.depends };
            let needs = if runtime { &self.runtime_needs } else { &self.needs };
            let by_flag = || {
                recipe.tasks.tasks.iter().any(|task| {
                    needs.get(&(*index, *task)).is_some_and(|needs| needs.iter().any(|(name, _)| name == item.name))
                })
            };
            if list.iter().any(|name| name == item.name) || by_flag() {
                dependents.push(*index);
            }
        }
        let names: Vec<&str> = dependents.iter().map(|index| universe.recipes[*index].name.as_str()).collect();
        let kind = if runtime { "at run time " } else { "" };
        let full = universe.full_name(item);
        let mut problem = format!("nothing provides {full}");
        if !names.is_empty() {
            problem.extend([format!(", which {} {kind}needs", names.join(", "))]);
        }
        for reason in universe.skip_reasons(&full) {
            problem.extend([format!("\n  {reason}")]);
        }
        self.problems.push(problem);
        for index in dependents {
            self.fail_recipe(universe, index);
        }
    }

    fn fail_recipe(&mut self, universe: &Universe, index: usize) {
        if !self.failed.insert(index) {
            return;
        }
        let configuration = universe.configuration_of(index);
        for name in self.parts[configuration].build.remove(index) {
            self.fail_item(universe, Item { configuration, name: &name }, false);
        }
        for name in self.parts[configuration].runtime.remove(index) {
            self.fail_item(universe, Item { configuration, name: &name }, true);
        }
    }

    /// The targets that were asked for.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }
}

fn flag_needs(file: &str, task: Sym, flag: &str, value: Option<&Text>) -> Result<Needs> {
    let mut needs = Needs::new();
    for entry in value.map(|text| &**text).unwrap_or_default().split_whitespace() {
        match entry.split_once(':') {
            Some((item, wanted)) if !wanted.contains(':') => needs.push((item.to_owned(), Sym::new(wanted))),
            _ => return Err(Error::Fatal(format!("{file}: {task}[{flag}]: {entry} is not RECIPE:TASK"))),
        }
    }
    Ok(needs)
}

fn foreign(universe: &Universe, file: &str, task: Sym, word: &str) -> Result<Foreign> {
    let parts: Vec<&str> = word.split(':').collect();
    let [_, from, to, item, wanted] = parts.as_slice() else {
        return Err(Error::Fatal(format!("{file}: {task}[mcdepends]: {word} is not mc:FROM:TO:RECIPE:TASK")));
    };
    let Some(to) = universe.configurations.iter().position(|own| own.name == *to) else {
        return Err(Error::Fatal(format!(
            "{file}: {task}[mcdepends]: {word} names the multiconfig {to}, which BBMULTICONFIG does not"
        )));
    };
    Ok(Foreign { from: (*from).to_owned(), to, item: (*item).to_owned(), task: Sym::new(wanted) })
}
