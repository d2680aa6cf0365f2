//! Recipes at large: their versions, and what should not be as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Severity};
use crate::error::{Place, Result};
use crate::graph::Universe;
use crate::recipe::RecipeInfo;

/// The versions of one recipe name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The name.
    pub name: String,
    /// The latest version, `EPOCH:VERSION-REVISION`.
    pub latest: String,
    /// The one that is built, when that is another.
    pub preferred: String,
}

/// The versions of every recipe, by name.
pub fn versions(universe: &mut Universe) -> Result<Vec<Version>> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, recipe) in universe.recipes.iter().enumerate() {
        by_name.entry(recipe.name.clone()).or_default().push(index);
    }
    let mut versions = Vec::new();
    for (name, indices) in by_name {
        let shown = |index: usize| {
            let (epoch, version, revision) = &universe.recipes[index].version;
            format!("{epoch}:{version}-{revision}")
        };
        let order =
            |a: &usize, b: &usize| crate::graph::compare(&universe.recipes[*a].version, &universe.recipes[*b].version);
        let latest = indices.iter().copied().max_by(order).map(shown).unwrap_or_default();
        let chosen = universe.build_providers(&name)?;
        let chosen = chosen.into_iter().find(|index| universe.recipes[*index].name == name);
        let preferred = chosen.map(|index| {
            let (epoch, version, revision) = &universe.recipes[index].version;
            format!("{epoch}:{version}-{revision}")
        });
        let preferred = preferred.filter(|preferred| *preferred != latest).unwrap_or_default();
        versions.push(Version { name, latest, preferred });
    }
    Ok(versions)
}

/// What is legal and probably not meant: virtual names that several recipes provide without a preference,
/// needs that nothing provides, tasks that follow tasks which do not exist.
pub fn lint(universe: &mut Universe) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for recipe in &universe.recipes {
        findings.extend(missing_parents(recipe));
        for item in &recipe.depends {
            if !universe.is_provided(item) && !universe.is_assumed(item) {
                findings
                    .push(warning(&recipe.path, format!("{} depends on {item}, which nothing provides", recipe.name)));
            }
        }
    }
    let items: BTreeSet<String> = universe
        .recipes
        .iter()
        .flat_map(|recipe| &recipe.provides)
        .filter(|i| i.starts_with("virtual/"))
        .cloned()
        .collect();
    for item in items {
        let providers = universe.build_providers(&item)?;
        if providers.len() > 1 && !universe.is_preferred(&item)? {
            let names: Vec<&str> = providers.iter().map(|index| universe.recipes[*index].name.as_str()).collect();
            let text = format!("{item} is provided by {}: set PREFERRED_PROVIDER_{item}", names.join(", "));
            findings.push(Finding { severity: Severity::Warning, place: None, message: text });
        }
    }
    findings.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message)));
    findings.dedup();
    Ok(findings)
}

fn place(finding: &Finding) -> Option<&str> {
    finding.place.as_ref().map(|place| place.file.as_str())
}

fn warning(file: &str, message: String) -> Finding {
    let place = Place { file: file.to_owned(), line: 0 };
    Finding { severity: Severity::Warning, place: Some(place), message }
}

fn missing_parents(recipe: &RecipeInfo) -> Vec<Finding> {
    let has = |task: &str| recipe.tasks.tasks.iter().any(|own| own.as_str() == task);
    let pairs =
        recipe.tasks.parents.iter().flat_map(|(task, parents)| parents.iter().map(move |parent| (task, parent)));
    let missing = pairs.filter(|(_, parent)| !has(parent));
    missing
        .map(|(task, parent)| {
            warning(&recipe.path, format!("{task} follows {parent}, which {} does not have", recipe.name))
        })
        .collect()
}
