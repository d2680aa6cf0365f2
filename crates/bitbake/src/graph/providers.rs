//! Who provides what, and who is preferred.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::{BuildDir, Pattern};
use crate::data::Store;
use crate::error::Result;
use crate::python::{Message, Session};
use crate::recipe::RecipeInfo;
use crate::version;

/// All recipes, by what they provide. A recipe is named by its index.
pub struct Universe {
    /// The recipes that are not skipped.
    pub recipes: Vec<Arc<RecipeInfo>>,
    /// Those that are.
    pub skipped: Vec<Arc<RecipeInfo>>,
    providers: HashMap<String, Vec<usize>>,
    runtime_providers: HashMap<String, Vec<usize>>,
    packages: HashMap<String, Vec<usize>>,
    packages_dynamic: Vec<(String, Pattern, Vec<usize>)>,
    /// What the recipes of one name provide together, in order.
    provided_by_name: HashMap<String, Vec<String>>,
    /// `PREFERRED_PROVIDERS`: item → name.
    preferred: HashMap<String, String>,
    /// `ASSUME_PROVIDED`: names, and patterns (which start with `^` or end with `$`).
    assumed: HashSet<String>,
    assumed_patterns: Vec<Pattern>,
    /// The configuration, to read preferences from.
    store: Store,
    session: Session,
}

impl Universe {
    /// Indexes recipes under a build directory's preferences.
    pub fn new(dir: &BuildDir, recipes: impl IntoIterator<Item = impl Into<Arc<RecipeInfo>>>) -> Result<Self> {
        let mut session = dir.session(false);
        let mut store = dir.store.copy();
        store.expand_keys(&mut session)?;
        let (skipped, recipes): (Vec<_>, Vec<_>) =
            recipes.into_iter().map(Into::into).partition(|recipe: &Arc<RecipeInfo>| recipe.skipped.is_some());
        let mut preferred = HashMap::new();
        for entry in store.get_words(&mut session, "PREFERRED_PROVIDERS")? {
            if let Some((item, name)) = entry.split_once(':') {
                preferred.insert(item.to_owned(), name.to_owned());
            }
        }
        let is_pattern = |name: &String| name.starts_with('^') || name.ends_with('$');
        let (patterns, names): (Vec<_>, Vec<_>) =
            store.get_words(&mut session, "ASSUME_PROVIDED")?.into_iter().partition(is_pattern);
        let assumed = names.into_iter().collect();
        let mut universe = Self {
            recipes,
            skipped,
            providers: HashMap::new(),
            runtime_providers: HashMap::new(),
            packages: HashMap::new(),
            packages_dynamic: Vec::new(),
            provided_by_name: HashMap::new(),
            preferred,
            assumed,
            assumed_patterns: patterns.iter().map(|pattern| Pattern::at_start(pattern)).collect(),
            store,
            session,
        };
        universe.index();
        Ok(universe)
    }

    fn index(&mut self) {
        for (index, recipe) in self.recipes.iter().enumerate() {
            for item in &recipe.provides {
                self.providers.entry(item.clone()).or_default().push(index);
                let together = self.provided_by_name.entry(recipe.name.clone()).or_default();
                if !together.contains(item) {
                    together.push(item.clone());
                }
            }
            for package in &recipe.packages {
                self.packages.entry(package.clone()).or_default().push(index);
            }
            for item in &recipe.runtime_provides {
                self.runtime_providers.entry(item.clone()).or_default().push(index);
            }
            for pattern in &recipe.packages_dynamic {
                if let Some((_, _, recipes)) = self.packages_dynamic.iter_mut().find(|(known, _, _)| known == pattern) {
                    recipes.push(index);
                } else {
                    let compiled = Pattern::at_start(&pattern.replace('+', "\\+"));
                    self.packages_dynamic.push((pattern.clone(), compiled, vec![index]));
                }
            }
        }
    }

    /// Whether an item is taken as provided by the host.
    pub fn is_assumed(&self, item: &str) -> bool {
        self.assumed.contains(item) || self.assumed_patterns.iter().any(|pattern| pattern.matches(item))
    }

    /// Whether any recipe provides the item.
    pub fn is_provided(&self, item: &str) -> bool {
        self.providers.contains_key(item)
    }

    /// Whether the configuration says which provider of an item it prefers.
    pub fn is_preferred(&mut self, item: &str) -> Result<bool> {
        Ok(self.preferred.contains_key(item) || self.setting(&format!("PREFERRED_PROVIDER_{item}"))?.is_some())
    }

    /// The providers of a build-time item, best first.
    pub fn build_providers(&mut self, item: &str) -> Result<Vec<usize>> {
        let all = self.providers.get(item).cloned().unwrap_or_default();
        let mut eligible = self.eligible(all, item)?;
        let chosen = self.setting(&format!("PREFERRED_PROVIDER_{item}"))?;
        if let Some(chosen) = &chosen {
            self.preferred.insert(item.to_owned(), chosen.clone());
        }
        if let Some(name) = chosen.or_else(|| self.preferred.get(item).cloned()) {
            self.prefer(&mut eligible, &name);
        }
        Ok(eligible)
    }

    /// The providers of a run-time item, best first; `None` when preferences contradict each other.
    pub fn runtime_providers(&mut self, item: &str) -> Result<Option<Vec<usize>>> {
        let mut all = self.runtime_providers.get(item).cloned().unwrap_or_default();
        all.extend(self.packages.get(item).into_iter().flatten());
        if all.is_empty() {
            for (_, pattern, recipes) in &self.packages_dynamic {
                if pattern.matches(item) {
                    all.extend(recipes);
                }
            }
        }
        let mut eligible = self.eligible(all, item)?;
        if let Some(name) = self.setting(&format!("PREFERRED_RPROVIDER_{item}"))?
            && self.prefer(&mut eligible, &name)
        {
            return Ok(Some(eligible));
        }
        // Without a preference for the package, one for anything that its recipes provide counts.
        let mut preferred: Vec<usize> = Vec::new();
        for recipe in eligible.clone() {
            let provided = self.provided_by_name.get(&self.recipes[recipe].name).cloned().unwrap_or_default();
            for provide in provided {
                let Some(name) = self.setting(&format!("PREFERRED_PROVIDER_{provide}"))? else { continue };
                let found = eligible.iter().copied().rfind(|r| self.recipes[*r].name == name);
                if let Some(found) = found.filter(|found| !preferred.contains(found)) {
                    eligible.retain(|r| *r != found);
                    eligible.insert(0, found);
                    preferred.push(found);
                    break;
                }
            }
        }
        if preferred.len() > 1 {
            let names: Vec<&str> = preferred.iter().map(|r| self.recipes[*r].name.as_str()).collect();
            let text = format!(
                "the PREFERRED_PROVIDER settings contradict each other for the package {item}: {}; set PREFERRED_RPROVIDER_{item}",
                names.join(", ")
            );
            self.session.messages.push(Message { level: 40, text });
            return Ok(None);
        }
        Ok(Some(eligible))
    }

    /// What was noticed while choosing.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.session.messages)
    }

    /// Why an item is not provided: recipes that would, but are skipped.
    pub fn skip_reasons(&self, item: &str) -> Vec<String> {
        let provides = |recipe: &&Arc<RecipeInfo>| {
            recipe.name == item || recipe.provides.iter().chain(&recipe.runtime_provides).any(|p| p == item)
        };
        let reason = |recipe: &Arc<RecipeInfo>| {
            format!(
                "{} provides {item}, and is skipped: {}",
                recipe.name,
                recipe.skipped.as_deref().unwrap_or_default()
            )
        };
        self.skipped.iter().filter(provides).map(reason).collect()
    }

    pub(super) fn setting(&mut self, var: &str) -> Result<Option<String>> {
        Ok(self.store.get_text(&mut self.session, var)?.filter(|text| !text.is_empty()).map(|text| text.to_string()))
    }

    fn prefer(&self, eligible: &mut Vec<usize>, name: &str) -> bool {
        match eligible.iter().position(|recipe| self.recipes[*recipe].name == name) {
            Some(at) => {
                let chosen = eligible.remove(at);
                eligible.insert(0, chosen);
                true
            }
            None => false,
        }
    }

    /// One recipe of each name: of the preferred version, else the latest of the highest priority.
    fn eligible(&mut self, mut providers: Vec<usize>, item: &str) -> Result<Vec<usize>> {
        providers.sort_by(|a, b| self.recipes[*a].file.cmp(&self.recipes[*b].file));
        providers.dedup();
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for recipe in &providers {
            by_name.entry(self.recipes[*recipe].name.clone()).or_default().push(*recipe);
        }
        let mut eligible = Vec::new();
        let mut latest = Vec::new();
        for (name, recipes) in &by_name {
            let sets = self.by_priority(recipes);
            let (preferred, required) = self.preferred_version(name, &sets)?;
            match preferred {
                Some(recipe) => eligible.push(recipe),
                None if required => return Ok(Vec::new()),
                None => latest.extend(self.latest(sets.first().map_or(&[], Vec::as_slice))),
            }
        }
        eligible.extend(latest);
        // A recipe of the item's own name goes first.
        if let Some(at) = eligible.iter().position(|recipe| self.recipes[*recipe].name == item) {
            let own = eligible.remove(at);
            eligible.insert(0, own);
        }
        Ok(eligible)
    }

    /// Sets of recipes of equal priority, highest first; within a set the lowest preference first.
    fn by_priority(&self, recipes: &[usize]) -> Vec<Vec<usize>> {
        let mut sets: BTreeMap<i64, BTreeMap<i64, Vec<usize>>> = BTreeMap::new();
        for index in recipes {
            let recipe = &self.recipes[*index];
            sets.entry(recipe.priority).or_default().entry(recipe.preference).or_default().push(*index);
        }
        sets.into_values().rev().map(|by_preference| by_preference.into_values().flatten().collect()).collect()
    }

    fn version_setting(&mut self, keyword: &str, name: &str) -> Result<Option<String>> {
        for var in
            [format!("{keyword}_VERSION:pn-{name}"), format!("{keyword}_VERSION_{name}"), format!("{keyword}_VERSION")]
        {
            if let Some(version) = self.setting(&var)? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// The recipe of the wanted version, and whether only that version will do.
    fn preferred_version(&mut self, name: &str, sets: &[Vec<usize>]) -> Result<(Option<usize>, bool)> {
        let required = self.version_setting("REQUIRED", name)?;
        let is_required = required.is_some();
        let wanted = match required {
            Some(version) => Some(version),
            None => self.version_setting("PREFERRED", name)?,
        };
        let Some(wanted) = wanted else { return Ok((None, false)) };
        let (epoch, version) = match wanted.split_once(':') {
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit()) => {
                (Some(epoch), rest)
            }
            _ => (None, wanted.as_str()),
        };
        let fits = |index: &&usize| {
            let (pe, pv, _) = &self.recipes[**index].version;
            epoch.is_none_or(|epoch| epoch == pe)
                && (version == pv || version.strip_suffix('%').is_some_and(|prefix| pv.starts_with(prefix)))
        };
        let found = sets.iter().flatten().find(fits).copied();
        if found.is_none() {
            let level = if is_required { 40 } else { 30 };
            let text = format!(
                "the {} version {wanted} of {name} is not available",
                if is_required { "required" } else { "preferred" }
            );
            self.session.messages.push(Message { level, text });
        }
        Ok((found, is_required))
    }

    fn latest(&self, recipes: &[usize]) -> Option<usize> {
        let mut best: Option<usize> = None;
        for index in recipes.iter().copied() {
            let recipe = &self.recipes[index];
            let better = match best.map(|best| &self.recipes[best]) {
                None => true,
                Some(best) => {
                    (best.preference == recipe.preference && compare(&best.version, &recipe.version) == Ordering::Less)
                        || recipe.preference > best.preference
                }
            };
            if better {
                best = Some(index);
            }
        }
        best
    }
}

/// Compares `PE`, `PV`, `PR`.
pub(crate) fn compare(a: &(String, String, String), b: &(String, String, String)) -> Ordering {
    let epoch = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    let epochs = epoch(&a.0).cmp(&epoch(&b.0));
    epochs.then_with(|| version::compare_parts(&a.1, &b.1)).then_with(|| version::compare_parts(&a.2, &b.2))
}
