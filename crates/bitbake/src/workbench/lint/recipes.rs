//! Checks of what recipes came to.

use std::collections::BTreeSet;

use super::super::Finding;
use super::found;
use crate::error::{Place, Result};
use crate::graph::Universe;
use crate::recipe::RecipeInfo;

/// Virtual names that several recipes provide without a preference, needs that nothing provides, tasks that follow tasks which do not
/// exist.
pub(super) fn check(universe: &mut Universe) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for recipe in &universe.recipes {
        findings.extend(missing_parents(recipe));
        for item in &recipe.depends {
            if !universe.is_provided(item) && !universe.is_assumed(item) {
                let message = format!("{} depends on {item}, which nothing provides", recipe.name);
                findings.push(found(Some(Place::file(recipe.path.as_str())), "unprovided-dependency", message));
            }
        }
    }
    let provided = universe.recipes.iter().flat_map(|recipe| &recipe.provides);
    let items: BTreeSet<String> = provided.filter(|item| item.starts_with("virtual/")).cloned().collect();
    for item in items {
        let providers = universe.build_providers(&item)?;
        if providers.len() > 1 && !universe.is_preferred(&item)? {
            let names: Vec<&str> = providers.iter().map(|index| universe.recipes[*index].name.as_str()).collect();
            let message = format!("{item} is provided by {}: set PREFERRED_PROVIDER_{item}", names.join(", "));
            findings.push(found(None, "ambiguous-provider", message));
        }
    }
    Ok(findings)
}

fn missing_parents(recipe: &RecipeInfo) -> Vec<Finding> {
    let has = |task: &str| recipe.tasks.tasks.iter().any(|own| own.as_str() == task);
    let pairs =
        recipe.tasks.parents.iter().flat_map(|(task, parents)| parents.iter().map(move |parent| (task, parent)));
    let missing = pairs.filter(|(_, parent)| !has(parent));
    missing
        .map(|(task, parent)| {
            let message = format!("{task} follows {parent}, which {} does not have", recipe.name);
            found(Some(Place::file(recipe.path.as_str())), "missing-task", message)
        })
        .collect()
}
