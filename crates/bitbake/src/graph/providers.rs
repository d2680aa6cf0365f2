//! Who provides what, and who is preferred.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::{BuildDir, Pattern};
use crate::data::Store;
use crate::error::Result;
use crate::python::{Message, Session};
use crate::recipe::{RecipeInfo, in_multiconfig, split_multiconfig};
use crate::version;

/// All recipes, by what they provide. A recipe is named by its index.
///
/// Each configuration has its own recipes and preferences. Items of another configuration than the default one are written
/// `mc:NAME:ITEM`.
pub struct Universe {
    /// The recipes that are not skipped.
    pub recipes: Vec<Arc<RecipeInfo>>,
    /// Those that are.
    pub skipped: Vec<Arc<RecipeInfo>>,
    pub(super) configurations: Vec<Configuration>,
    /// Recipe → its configuration, by index.
    of_recipe: Vec<usize>,
    session: Session,
}

/// What is as much alike may have been meant.
const CLOSE: usize = 700;

/// How much of two names is the same, in thousandths, as Python's `difflib` has it: BitBake's measure of what may have been meant.
fn likeness(a: &str, b: &str) -> usize {
    fn same(a: &[u8], b: &[u8]) -> usize {
        let mut best = (0, 0, 0);
        for (i, j) in (0..a.len()).flat_map(|i| (0..b.len()).map(move |j| (i, j))) {
            let length = a[i..].iter().zip(&b[j..]).take_while(|(a, b)| a == b).count();
            if length > best.0 {
                best = (length, i, j);
            }
        }
        let (length, i, j) = best;
        if length == 0 { 0 } else { length + same(&a[..i], &b[..j]) + same(&a[i + length..], &b[j + length..]) }
    }
    // A name of another length can be no more alike than that.
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    let ratio = |same: usize| 2000 * same / (short + long).max(1);
    if ratio(short) < CLOSE { 0 } else { ratio(same(a.as_bytes(), b.as_bytes())) }
}

/// What the recipes of one configuration provide, and what it prefers.
pub(super) struct Configuration {
    /// Its name; empty for the default one.
    pub(super) name: String,
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
}

impl Configuration {
    fn new(name: &str, store: &Store, session: &mut Session) -> Result<Self> {
        let mut store = store.copy();
        store.expand_keys(session)?;
        let mut preferred = HashMap::new();
        for entry in store.get_words(session, "PREFERRED_PROVIDERS")? {
            if let Some((item, name)) = entry.split_once(':') {
                preferred.insert(item.to_owned(), name.to_owned());
            }
        }
        let is_pattern = |name: &String| name.starts_with('^') || name.ends_with('$');
        let (patterns, names): (Vec<_>, Vec<_>) =
            store.get_words(session, "ASSUME_PROVIDED")?.into_iter().partition(is_pattern);
        Ok(Self {
            name: name.to_owned(),
            providers: HashMap::new(),
            runtime_providers: HashMap::new(),
            packages: HashMap::new(),
            packages_dynamic: Vec::new(),
            provided_by_name: HashMap::new(),
            preferred,
            assumed: names.into_iter().collect(),
            assumed_patterns: patterns.iter().map(|pattern| Pattern::at_start(pattern)).collect(),
            store,
        })
    }

    fn index(&mut self, index: usize, recipe: &RecipeInfo) {
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

    fn is_assumed(&self, item: &str) -> bool {
        self.assumed.contains(item) || self.assumed_patterns.iter().any(|pattern| pattern.matches(item))
    }
}

/// An item of a configuration, the configuration by its index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) configuration: usize,
    pub(super) name: &'a str,
}

impl Universe {
    /// Indexes recipes under a build directory's preferences.
    pub fn new(dir: &BuildDir, recipes: impl IntoIterator<Item = impl Into<Arc<RecipeInfo>>>) -> Result<Self> {
        let mut session = dir.session(false);
        let mut configurations = Vec::new();
        for (name, store) in dir.configurations() {
            configurations.push(Configuration::new(name, store, &mut session)?);
        }
        let (skipped, recipes): (Vec<_>, Vec<_>) =
            recipes.into_iter().map(Into::into).partition(|recipe: &Arc<RecipeInfo>| recipe.skipped.is_some());
        let of = |recipe: &RecipeInfo| configurations.iter().position(|own| own.name == recipe.multiconfig);
        let of_recipe: Vec<usize> = recipes.iter().map(|recipe| of(recipe).unwrap_or_default()).collect();
        for (index, recipe) in recipes.iter().enumerate() {
            configurations[of_recipe[index]].index(index, recipe);
        }
        Ok(Self { recipes, skipped, configurations, of_recipe, session })
    }

    /// The configuration that a recipe belongs to.
    pub(super) fn configuration_of(&self, recipe: usize) -> usize {
        self.of_recipe[recipe]
    }

    /// Finds the configuration that an item names.
    pub(super) fn item<'a>(&self, name: &'a str) -> Option<Item<'a>> {
        let (configuration, name) = split_multiconfig(name);
        let found = self.configurations.iter().position(|own| own.name == configuration);
        found.map(|configuration| Item { configuration, name })
    }

    /// An item's name with its configuration.
    pub(super) fn full_name(&self, item: Item<'_>) -> String {
        in_multiconfig(&self.configurations[item.configuration].name, item.name)
    }

    /// `PN` of a recipe with its configuration.
    pub fn recipe_name(&self, recipe: usize) -> String {
        in_multiconfig(&self.recipes[recipe].multiconfig, &self.recipes[recipe].name)
    }

    /// Whether an item is taken as provided by the host.
    pub fn is_assumed(&self, item: &str) -> bool {
        self.item(item).is_some_and(|item| self.configurations[item.configuration].is_assumed(item.name))
    }

    pub(super) fn assumes(&self, item: Item<'_>) -> bool {
        self.configurations[item.configuration].is_assumed(item.name)
    }

    /// Whether any recipe provides the item.
    pub fn is_provided(&self, item: &str) -> bool {
        self.item(item).is_some_and(|item| self.configurations[item.configuration].providers.contains_key(item.name))
    }

    /// Every recipe that provides the item, preferred or not.
    pub(super) fn all_providers(&self, item: Item<'_>) -> &[usize] {
        self.configurations[item.configuration].providers.get(item.name).map_or(&[], Vec::as_slice)
    }

    /// The recipes of a configuration, with their indices.
    pub(super) fn of_configuration(&self, configuration: usize) -> impl Iterator<Item = (usize, &Arc<RecipeInfo>)> {
        self.recipes.iter().enumerate().filter(move |(index, _)| self.of_recipe[*index] == configuration)
    }

    /// What the recipes of one name provide together.
    pub(super) fn provided_by(&self, configuration: usize, name: &str) -> &[String] {
        self.configurations[configuration].provided_by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the configuration says which provider of an item it prefers.
    pub fn is_preferred(&mut self, item: &str) -> Result<bool> {
        let Some(item) = self.item(item) else { return Ok(false) };
        Ok(self.configurations[item.configuration].preferred.contains_key(item.name)
            || self.setting(item.configuration, &format!("PREFERRED_PROVIDER_{}", item.name))?.is_some())
    }

    /// The providers of a build-time item, best first.
    pub fn build_providers(&mut self, item: &str) -> Result<Vec<usize>> {
        self.item(item).map_or(Ok(Vec::new()), |item| self.providers_of(item))
    }

    pub(super) fn providers_of(&mut self, item: Item<'_>) -> Result<Vec<usize>> {
        let all = self.all_providers(item).to_vec();
        let mut eligible = self.eligible(all, item)?;
        let chosen = self.setting(item.configuration, &format!("PREFERRED_PROVIDER_{}", item.name))?;
        let preferred = &mut self.configurations[item.configuration].preferred;
        if let Some(chosen) = &chosen {
            preferred.insert(item.name.to_owned(), chosen.clone());
        }
        if let Some(name) = chosen.or_else(|| preferred.get(item.name).cloned()) {
            self.prefer(&mut eligible, &name);
        }
        Ok(eligible)
    }

    /// The providers of a run-time item, best first; `None` when preferences contradict each other.
    pub fn runtime_providers(&mut self, item: &str) -> Result<Option<Vec<usize>>> {
        self.item(item).map_or(Ok(Some(Vec::new())), |item| self.runtime_providers_of(item))
    }

    pub(super) fn runtime_providers_of(&mut self, item: Item<'_>) -> Result<Option<Vec<usize>>> {
        let own = &self.configurations[item.configuration];
        let mut all = own.runtime_providers.get(item.name).cloned().unwrap_or_default();
        all.extend(own.packages.get(item.name).into_iter().flatten());
        if all.is_empty() {
            for (_, pattern, recipes) in &own.packages_dynamic {
                if pattern.matches(item.name) {
                    all.extend(recipes);
                }
            }
        }
        let mut eligible = self.eligible(all, item)?;
        if let Some(name) = self.setting(item.configuration, &format!("PREFERRED_RPROVIDER_{}", item.name))?
            && self.prefer(&mut eligible, &name)
        {
            return Ok(Some(eligible));
        }
        // Without a preference for the package, one for anything that its recipes provide counts.
        let mut preferred: Vec<usize> = Vec::new();
        for recipe in eligible.clone() {
            for provide in self.provided_by(item.configuration, &self.recipes[recipe].name).to_vec() {
                let setting = self.setting(item.configuration, &format!("PREFERRED_PROVIDER_{provide}"))?;
                let Some(name) = setting else { continue };
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
                names.join(", "),
                item = item.name,
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
        let (configuration, item) = split_multiconfig(item);
        let provides = |recipe: &&Arc<RecipeInfo>| {
            recipe.multiconfig == configuration
                && (recipe.name == item || recipe.provides.iter().chain(&recipe.runtime_provides).any(|p| p == item))
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

    /// At most three items of the same configuration with names most like an item's, sorted.
    pub(super) fn close_to(&self, item: Item<'_>) -> Vec<String> {
        let providers = &self.configurations[item.configuration].providers;
        let mut close: Vec<(usize, &String)> = providers.keys().map(|name| (likeness(name, item.name), name)).collect();
        close.retain(|(likeness, _)| *likeness >= CLOSE);
        close.sort_unstable_by(|a, b| b.cmp(a));
        let mut names: Vec<String> = close.into_iter().take(3).map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// A variable of a configuration, where it is set and not empty.
    pub(super) fn setting(&mut self, configuration: usize, var: &str) -> Result<Option<String>> {
        let store = &mut self.configurations[configuration].store;
        Ok(store.get_text(&mut self.session, var)?.filter(|text| !text.is_empty()).map(|text| text.to_string()))
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
    fn eligible(&mut self, mut providers: Vec<usize>, item: Item<'_>) -> Result<Vec<usize>> {
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
            let (preferred, required) = self.preferred_version(item.configuration, name, &sets)?;
            match preferred {
                Some(recipe) => eligible.push(recipe),
                None if required => return Ok(Vec::new()),
                None => latest.extend(self.latest(sets.first().map_or(&[], Vec::as_slice))),
            }
        }
        eligible.extend(latest);
        // A recipe of the item's own name goes first.
        if let Some(at) = eligible.iter().position(|recipe| self.recipes[*recipe].name == item.name) {
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

    /// The latest recipe of a name, the one that is built, and whether the configuration requires its version.
    ///
    /// None is built where the required version is not there.
    pub fn versions_of(&mut self, name: &str) -> Result<Option<(usize, Option<usize>, bool)>> {
        let Some(Item { configuration, name }) = self.item(name) else { return Ok(None) };
        let recipes: Vec<usize> =
            self.of_configuration(configuration).filter(|(_, own)| own.name == name).map(|(index, _)| index).collect();
        let sets = self.by_priority(&recipes);
        let Some(latest) = self.latest(sets.first().map_or(&[], Vec::as_slice)) else { return Ok(None) };
        let (preferred, required) = self.preferred_version(configuration, name, &sets)?;
        let preferred = if required { preferred } else { preferred.or(Some(latest)) };
        Ok(Some((latest, preferred, required)))
    }

    fn version_setting(&mut self, configuration: usize, keyword: &str, name: &str) -> Result<Option<String>> {
        for var in
            [format!("{keyword}_VERSION:pn-{name}"), format!("{keyword}_VERSION_{name}"), format!("{keyword}_VERSION")]
        {
            if let Some(version) = self.setting(configuration, &var)? {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// The recipe of the wanted version, and whether only that version will do.
    fn preferred_version(
        &mut self,
        configuration: usize,
        name: &str,
        sets: &[Vec<usize>],
    ) -> Result<(Option<usize>, bool)> {
        let required = self.version_setting(configuration, "REQUIRED", name)?;
        let is_required = required.is_some();
        let wanted = match required {
            Some(version) => Some(version),
            None => self.version_setting(configuration, "PREFERRED", name)?,
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
