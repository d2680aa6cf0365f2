//! Recipes at large: their versions.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::graph::Universe;

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
