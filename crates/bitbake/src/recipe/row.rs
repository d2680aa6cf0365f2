//! A recipe as one line of JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use crate::Sym;
use crate::config::RecipeFile;
use crate::error::Result;
use crate::metadata::Finalised;
use crate::python::Session;

/// Variables of a recipe that its row holds.
const VARIABLES: [&str; 14] = [
    "PN",
    "PV",
    "PE",
    "PR",
    "BPN",
    "DEPENDS",
    "PROVIDES",
    "PACKAGES",
    "SRC_URI",
    "LICENSE",
    "STAMP",
    "WORKDIR",
    "OVERRIDES",
    "PACKAGE_ARCH",
];
/// Variables of each package.
const PACKAGE_VARIABLES: [&str; 4] = ["RDEPENDS", "RRECOMMENDS", "RPROVIDES", "RCONFLICTS"];

/// What `parse --jsonl` says of a variant.
///
/// `recipe` (path), `variant`, `multiconfig` (left out for the default one), and either `skipped` (the reason) or: the recipe's and its packages' variables (those that are set),
/// `tasks` (sorted), `parents` (task → sorted tasks before it), `basehash` (task → SHA-256) and `taskdeps_sha` (task → the first 16
/// hexadecimal digits of the SHA-256 of the sorted names that enter it, joined by spaces).
pub fn recipe_row(session: &mut Session, file: &RecipeFile, variant: &mut Finalised) -> Result<Json> {
    let mut row = Map::new();
    row.insert("recipe".into(), file.path.as_str().into());
    row.insert("variant".into(), variant.variant.as_str().into());
    if !file.multiconfig.is_empty() {
        row.insert("multiconfig".into(), file.multiconfig.as_str().into());
    }
    if let Some(reason) = &variant.skipped {
        row.insert("skipped".into(), reason.as_str().into());
        return Ok(Json::Object(row));
    }
    let mut names: Vec<String> = VARIABLES.iter().map(|name| (*name).to_owned()).collect();
    for package in variant.store.get_words(session, "PACKAGES")? {
        names.extend(PACKAGE_VARIABLES.iter().map(|name| format!("{name}:{package}")));
    }
    for name in names {
        if let Some(value) = variant.store.get(session, Sym::new(&name))? {
            row.insert(name, value.to_string().into());
        }
    }
    let mut tasks: Vec<&str> = variant.tasks.tasks.iter().map(|task| task.as_str()).collect();
    tasks.sort_unstable();
    row.insert("tasks".into(), tasks.into());
    let parents: BTreeMap<&str, Vec<&str>> = variant
        .tasks
        .parents
        .iter()
        .map(|(task, before)| {
            let mut before: Vec<&str> = before.iter().map(|task| &**task).collect();
            before.sort_unstable();
            (&**task, before)
        })
        .collect();
    row.insert("parents".into(), serde_json::to_value(parents).unwrap_or_default());
    if let Some(signatures) = &variant.signatures {
        let mut hashes = Map::new();
        let mut names = Map::new();
        for signature in &signatures.tasks {
            let task = signature.task.as_str().to_owned();
            let all: Vec<&str> = signature.depends.iter().map(|name| name.as_str()).collect();
            let digest = hex::encode(Sha256::digest(all.join(" ")));
            names.insert(task.clone(), digest[..16].into());
            hashes.insert(task, (&*signature.basehash).into());
        }
        row.insert("basehash".into(), Json::Object(hashes));
        row.insert("taskdeps_sha".into(), Json::Object(names));
    }
    Ok(Json::Object(row))
}
