//! What was computed, one JSON object per variant or task.

use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::Sym;
use crate::config::RecipeFile;
use crate::error::Result;
use crate::graph::HashedTask;
use crate::metadata::Finalised;
use crate::python::Session;

const FIELDS: [&str; 14] = [
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
    "OVERRIDES",
    "STAMP",
    "WORKDIR",
    "PACKAGE_ARCH",
];
const PACKAGE_FIELDS: [&str; 4] = ["RDEPENDS", "RRECOMMENDS", "RPROVIDES", "RCONFLICTS"];

/// The row of a recipe's variant: its main variables, tasks, and basehashes when it was signed. What is not set is left out.
pub fn recipe_row(session: &mut Session, file: &RecipeFile, variant: &mut Finalised) -> Result<Json> {
    let mut row = Map::new();
    row.insert("recipe".into(), file.path.clone().into());
    row.insert("variant".into(), variant.variant.clone().into());
    if let Some(reason) = &variant.skipped {
        row.insert("skipped".into(), reason.clone().into());
        return Ok(row.into());
    }
    let mut names: Vec<String> = FIELDS.map(str::to_owned).into();
    for package in variant.store.get_words(session, "PACKAGES")? {
        names.extend(PACKAGE_FIELDS.map(|field| format!("{field}:{package}")));
    }
    for name in names {
        if let Some(value) = variant.store.get_text(session, &name)? {
            row.insert(name, (*value).into());
        }
    }
    let mut tasks: Vec<&str> = variant.tasks.tasks.iter().map(|task| task.as_str()).collect();
    tasks.sort_unstable();
    row.insert("tasks".into(), tasks.into());
    let parents = variant.tasks.parents.iter().map(|(task, parents)| {
        let mut parents: Vec<&str> = parents.iter().map(|parent| &**parent).collect();
        parents.sort_unstable();
        (task.to_string(), Json::from(parents))
    });
    row.insert("parents".into(), Json::Object(parents.collect()));
    if let Some(signatures) = &variant.signatures {
        let hashes = signatures.tasks.iter().map(|s| (s.task.to_string(), Json::from(&*s.basehash)));
        row.insert("basehash".into(), Json::Object(hashes.collect()));
        let digests = signatures.tasks.iter().map(|signature| {
            let names: Vec<&str> = signature.depends.iter().copied().map(Sym::as_str).collect();
            let digest = hex::encode(Sha256::digest(names.join(" ")));
            (signature.task.to_string(), Json::from(&digest[..16]))
        });
        row.insert("taskdeps_sha".into(), Json::Object(digests.collect()));
    }
    Ok(row.into())
}

/// The row of a task of a graph.
pub fn task_row(task: &HashedTask) -> Json {
    let depends: Vec<_> = task.depends.iter().map(|dep| (&dep.name, &dep.id)).collect();
    let files: Vec<_> = task.files.iter().map(|file| (&file.path, &file.md5)).collect();
    json!({
        "task": task.id, "basehash": &*task.basehash, "taskhash": task.taskhash,
        "deps": depends, "files": files, "taint": null,
    })
}
