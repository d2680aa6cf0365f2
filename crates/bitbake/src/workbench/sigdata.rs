//! Signature data of a task, in the files that BitBake writes beside its stamps: JSON, compressed with Zstandard.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value as Json, json};

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

    /// Writes a file that `bitbake-diffsigs` reads; its directory is made.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |error: std::io::Error| Error::Io { path: path.display().to_string(), message: error.to_string() };
        let refers: BTreeMap<&String, Json> =
            self.refers.iter().map(|(name, refers)| (name, json!({ "_set_object": refers }))).collect();
        let mut data = json!({
            "task": self.task, "basehash_ignore_vars": { "_set_object": [] }, "taskhash_ignore_tasks": null,
            "taskdeps": self.variables, "basehash": self.basehash, "gendeps": refers, "varvals": self.values,
            "runtaskdeps": self.depends.keys().collect::<Vec<_>>(), "file_checksum_values": self.files,
            "runtaskhashes": self.depends, "taskhash": self.taskhash, "unihash": self.taskhash,
        });
        if let Some(taint) = &self.taint {
            data["taint"] = taint.clone().into();
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory).map_err(failed)?;
        let bytes = zstd::encode_all(data.to_string().as_bytes(), 3).map_err(failed)?;
        // Nobody may find half a file under its name.
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        std::io::Write::write_all(&mut file, &bytes).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stamps/a/1.0.do_x.sigdata.00");
        let data = Sigdata {
            task: "do_x".into(),
            basehash: "11".into(),
            taskhash: "00".into(),
            variables: ["A".to_owned()].into(),
            refers: [("A".to_owned(), ["B".to_owned()].into())].into(),
            values: [("A".to_owned(), Some("${B}".to_owned())), ("A[f]".to_owned(), None)].into(),
            depends: [("b:do_y".to_owned(), "22".to_owned())].into(),
            files: [("f".to_owned(), "33".to_owned())].into(),
            taint: None,
        };
        data.write(&path).unwrap();
        assert_eq!(Sigdata::read(&path).unwrap(), data);
        std::fs::write(&path, "not compressed").unwrap();
        assert!(Sigdata::read(&path).unwrap_err().to_string().contains("no signature data"));
    }
}
