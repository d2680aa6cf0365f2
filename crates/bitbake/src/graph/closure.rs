//! The recipes that targets need, with everything that cannot be provided taken out.

use std::collections::{HashMap, HashSet};

use super::providers::Universe;
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
}

/// `RECIPE:TASK` entries of a `depends` or `rdepends` flag.
type Needs = Vec<(String, Sym)>;

/// The recipes that targets need.
#[derive(Debug, Default)]
pub struct Closure {
    pub(super) build: Items,
    pub(super) runtime: Items,
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
    /// Follows the needs of targets.
    pub fn of(universe: &mut Universe, targets: &[&str]) -> Result<Self> {
        let mut closure =
            Self { targets: targets.iter().map(|target| (*target).to_owned()).collect(), ..Self::default() };
        for target in targets {
            if !universe.is_assumed(target) && !universe.is_provided(target) {
                let mut message = format!("nothing provides {target}");
                for reason in universe.skip_reasons(target) {
                    message.extend([format!("\n  {reason}")]);
                }
                return Err(Error::Fatal(message));
            }
            closure.provide(universe, target)?;
        }
        while closure.resolve(universe)? {}
        for target in targets {
            if closure.build.has_failed(target) {
                return Err(Error::Fatal(format!("{target} cannot be built:\n{}", closure.problems.join("\n"))));
            }
        }
        Ok(closure)
    }

    /// Whether a recipe is part of the build.
    pub fn contains(&self, recipe: usize) -> bool {
        self.seen.contains(&recipe) && !self.failed.contains(&recipe)
    }

    /// The recipe that provides a build-time item here.
    pub fn provider(&self, item: &str) -> Option<usize> {
        self.build.chosen(item)
    }

    /// One round over everything that has no provider yet; false when nothing was added.
    fn resolve(&mut self, universe: &mut Universe) -> Result<bool> {
        let mut added = false;
        let unresolved = |items: &Items, universe: &Universe| -> Vec<String> {
            items
                .names
                .iter()
                .filter(|name| items.chosen(name).is_none() && !items.has_failed(name) && !universe.is_assumed(name))
                .cloned()
                .collect()
        };
        for name in unresolved(&self.build, universe) {
            added |= self.provide(universe, &name)?;
        }
        for name in unresolved(&self.runtime, universe) {
            added |= self.provide_runtime(universe, &name)?;
        }
        Ok(added)
    }

    fn provide(&mut self, universe: &mut Universe, item: &str) -> Result<bool> {
        if universe.is_assumed(item) || self.build.chosen(item).is_some() {
            return Ok(true);
        }
        let mut eligible = universe.build_providers(item)?;
        eligible.retain(|recipe| !self.failed.contains(recipe));
        if eligible.is_empty() {
            self.fail_item(universe, item, false);
            return Ok(false);
        }
        for recipe in eligible {
            if !self.failed.contains(&recipe) {
                self.build.add(item, recipe);
                self.add_recipe(universe, recipe);
            }
        }
        Ok(true)
    }

    fn provide_runtime(&mut self, universe: &mut Universe, item: &str) -> Result<bool> {
        if self.runtime.chosen(item).is_some() {
            return Ok(true);
        }
        let mut eligible = universe.runtime_providers(item)?.unwrap_or_default();
        eligible.retain(|recipe| !self.failed.contains(recipe));
        if eligible.is_empty() {
            self.fail_item(universe, item, true);
            return Ok(false);
        }
        for recipe in eligible {
            if !self.failed.contains(&recipe) {
                self.runtime.add(item, recipe);
                self.add_recipe(universe, recipe);
            }
        }
        Ok(true)
    }

    fn add_recipe(&mut self, universe: &Universe, index: usize) {
        if !self.seen.insert(index) {
            return;
        }
        self.recipes.push(index);
        let recipe = &universe.recipes[index];
        for task in &recipe.tasks.tasks {
            for (flag, runtime) in [("depends", false), ("rdepends", true)] {
                let needs = flag_needs(recipe.tasks.flags.get(flag).and_then(|by_task| by_task.get(task.as_str())));
                for (item, _) in &needs {
                    if runtime { self.runtime.see(item) } else { self.build.see(item) }
                }
                if !needs.is_empty() {
                    let all = if runtime { &mut self.runtime_needs } else { &mut self.needs };
                    all.insert((index, *task), needs);
                }
            }
        }
        for item in &recipe.depends {
            self.build.see(item);
            if self.build.has_failed(item) {
                self.fail_recipe(universe, index);
                return;
            }
        }
        for item in &recipe.runtime_depends {
            self.runtime.see(item);
            if self.runtime.has_failed(item) {
                self.fail_recipe(universe, index);
                return;
            }
        }
    }

    fn fail_item(&mut self, universe: &Universe, item: &str, runtime: bool) {
        let items = if runtime { &mut self.runtime } else { &mut self.build };
        if !items.failed.insert(item.to_owned()) {
            return;
        }
        let mut dependents: Vec<usize> = Vec::new();
        for index in &self.recipes {
            let recipe = &universe.recipes[*index];
            let list = if runtime { &recipe.runtime_depends } else { &recipe.depends };
            let needs = if runtime { &self.runtime_needs } else { &self.needs };
            let by_flag = || {
                recipe.tasks.tasks.iter().any(|task| {
                    needs.get(&(*index, *task)).is_some_and(|needs| needs.iter().any(|(name, _)| name == item))
                })
            };
            if list.iter().any(|name| name == item) || by_flag() {
                dependents.push(*index);
            }
        }
        let names: Vec<&str> = dependents.iter().map(|index| universe.recipes[*index].name.as_str()).collect();
        let kind = if runtime { "at run time " } else { "" };
        let mut problem = format!("nothing provides {item}");
        if !names.is_empty() {
            problem.extend([format!(", which {} {kind}needs", names.join(", "))]);
        }
        for reason in universe.skip_reasons(item) {
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
        for item in self.build.remove(index) {
            self.fail_item(universe, &item, false);
        }
        for item in self.runtime.remove(index) {
            self.fail_item(universe, &item, true);
        }
    }

    /// The targets that were asked for.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }
}

fn flag_needs(value: Option<&Text>) -> Needs {
    let entries = value.map(|text| &**text).unwrap_or_default().split_whitespace();
    entries.filter_map(|entry| entry.split_once(':')).map(|(item, task)| (item.to_owned(), Sym::new(task))).collect()
}
