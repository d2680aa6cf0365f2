//! Signature data of a task, in the files that BitBake writes beside its stamps: JSON, compressed with Zstandard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value as Json;

use crate::Sym;
use crate::error::{Error, Result};
use crate::graph::HashedTask;
use crate::signature::RecipeSignatures;

/// Files whose text is larger than this are refused.
const LARGEST: u64 = 256 << 20;

/// Everything that enters a task's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sigdata {
    /// The task's name.
    pub task: String,
    /// The hash of its own metadata.
    pub basehash: String,
    /// The hash of everything.
    pub taskhash: String,
    /// The variables that enter, the task's own function aside.
    pub variables: BTreeSet<String>,
    /// Variable → what it refers to.
    pub refers: BTreeMap<String, BTreeSet<String>>,
    /// Variable → its text.
    pub values: BTreeMap<String, Option<String>>,
    /// Task → its hash.
    pub depends: BTreeMap<String, String>,
    /// Local files with their checksums.
    pub files: BTreeSet<(String, String)>,
    /// What makes the task run whatever else is the same.
    pub taint: Option<String>,
}

impl Sigdata {
    /// Of a task that was hashed, and whose recipe was signed.
    pub fn of(task: &str, hashed: &HashedTask, signatures: &RecipeSignatures) -> Self {
        let mut data = Self {
            task: task.to_owned(),
            basehash: hashed.basehash.to_string(),
            taskhash: hashed.taskhash.clone(),
            depends: hashed.depends.iter().map(|dep| (dep.name.clone(), dep.unihash.clone())).collect(),
            files: hashed.files.iter().map(|file| (shown(&file.path), file.md5.clone())).collect(),
            ..Self::default()
        };
        let own = signatures.tasks.iter().find(|signature| signature.task.as_str() == task);
        data.variables = own.iter().flat_map(|signature| signature.depends.iter()).map(ToString::to_string).collect();
        for name in data.variables.iter().map(String::as_str).chain([task]) {
            if let Some(variable) = Sym::find(name).and_then(|name| signatures.variables.get(&name)) {
                data.refers.insert(name.to_owned(), variable.depends.iter().map(ToString::to_string).collect());
                data.values.insert(name.to_owned(), variable.value.as_ref().map(ToString::to_string));
            }
        }
        data
    }

    /// Reads a `sigdata` or `siginfo` file.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |message: String| Error::Io { path: path.display().to_string(), message };
        let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
        let mut text = String::new();
        zstd::Decoder::new(file)
            .and_then(|decoder| decoder.take(LARGEST).read_to_string(&mut text))
            .map_err(|error| failed(format!("is no signature data: {error}")))?;
        let json: Json =
            serde_json::from_str(&text).map_err(|error| failed(format!("is no signature data: {error}")))?;
        if !json["taskhash"].is_string() && !json["basehash"].is_string() {
            return Err(failed("is no signature data: it holds no hash".into()));
        }
        Ok(Self::from_json(&json))
    }

    fn from_json(json: &Json) -> Self {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let object = |field: &str| json[field].as_object().into_iter().flatten();
        let string = |value: &Json| value.as_str().map(str::to_owned);
        Self {
            task: text("task"),
            basehash: text("basehash"),
            taskhash: text("taskhash"),
            variables: words(&json["taskdeps"]),
            refers: object("gendeps").map(|(name, refers)| (name.clone(), words(refers))).collect(),
            values: object("varvals").map(|(name, value)| (name.clone(), string(value))).collect(),
            depends: object("runtaskhashes").filter_map(|(name, hash)| Some((name.clone(), string(hash)?))).collect(),
            files: json["file_checksum_values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|pair| Some((string(&pair[0])?, string(&pair[1]).unwrap_or_default())))
                .collect(),
            taint: string(&json["taint"]),
        }
    }
}

/// A file as it is named in signature data: what follows `./` in the path, or its last part.
fn shown(path: &str) -> String {
    match path.split_once("/./") {
        Some((_, tail)) => format!("./{tail}"),
        None => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

/// Words of a list or of a set.
fn words(value: &Json) -> BTreeSet<String> {
    let items = value.as_array().or_else(|| value["_set_object"].as_array());
    items.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}
