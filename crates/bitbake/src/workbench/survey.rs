//! Recipes at large: their versions, and what should not be as it is.

use std::collections::BTreeSet;

use super::{Finding, Severity};
use crate::error::{Error, Place, Result};
use crate::graph::Universe;
use crate::recipe::RecipeInfo;

/// The versions of one recipe name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The name.
    pub name: String,
    /// The latest version, `EPOCH:VERSION-REVISION`.
    pub latest: String,
    /// The one that is built, when that is another and not required.
    pub preferred: String,
    /// The one that is built because the configuration requires it.
    pub required: String,
}

/// The versions of every recipe of the default configuration, by name.
pub fn versions(universe: &mut Universe) -> Result<Vec<Version>> {
    let names: BTreeSet<String> = universe
        .recipes
        .iter()
        .filter(|recipe| recipe.multiconfig.is_empty())
        .map(|recipe| recipe.name.clone())
        .collect();
    let mut versions = Vec::new();
    for name in names {
        let Some((latest, preferred, is_required)) = universe.versions_of(&name)? else { continue };
        let shown = |index: usize| {
            let (epoch, version, revision) = &universe.recipes[index].version;
            format!("{epoch}:{version}-{revision}")
        };
        let Some(built) = preferred else {
            return Err(Error::Fatal(format!("the version that REQUIRED_VERSION names of {name} is not there")));
        };
        let (mut preferred, mut required) = (String::new(), String::new());
        if is_required {
            required = shown(built);
        } else if built != latest {
            preferred = shown(built);
        }
        versions.push(Version { name, latest: shown(latest), preferred, required });
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
