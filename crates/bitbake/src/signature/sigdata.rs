//! Signature files (`sigdata`, `sigbasedata`, `siginfo`): all that went into a task's hash, as zstd-compressed JSON.
//!
//! The format is BitBake's, so that `bitbake-diffsigs` reads our files and we read BitBake's. Sets are written as
//! `{"_set_object": […]}`; keys are sorted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use buildnet_digest::{Diagnostic, ErrorCategory};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::basehash::RecipeSignatures;
use super::checksums::{FileChecksum, clean_path};
use super::depends::{ValueKind, VarSignature};
use super::taskhash::TaskDependency;
use crate::Sym;

/// Larger signature files are refused.
const LARGEST: u64 = 64 << 20;
/// BitBake's compression level.
const LEVEL: i32 = 3;

/// A set as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameSet {
    /// The members, sorted.
    #[serde(rename = "_set_object")]
    pub names: BTreeSet<String>,
}

/// A value as JSON: what Python stored as a number stays one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SigValue {
    /// Not set.
    #[default]
    Unset,
    /// A truth value.
    Truth(bool),
    /// An integer.
    Integer(i64),
    /// Text.
    Text(String),
}

impl SigValue {
    fn of(variable: &VarSignature) -> Self {
        let Some(text) = &variable.value else { return Self::Unset };
        let typed = match variable.kind {
            ValueKind::Integer => text.parse().map(Self::Integer).ok(),
            ValueKind::Truth => Some(Self::Truth(**text == *"True")),
            ValueKind::Text => None,
        };
        typed.unwrap_or_else(|| Self::Text(text.to_string()))
    }

    /// The text that enters hashes, as Python prints the value; `None` where it is not set.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unset => None,
            Self::Truth(truth) => Some(if *truth { "True" } else { "False" }.into()),
            Self::Integer(int) => Some(int.to_string().into()),
            Self::Text(text) => Some(text.into()),
        }
    }
}

/// All that went into the hash of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigData {
    /// Hash of the task's own metadata.
    pub basehash: String,
    /// `BB_BASEHASH_IGNORE_VARS`.
    pub basehash_ignore_vars: NameSet,
    /// (Path as it counts for the hash, MD5) of each local file, in the order of hashing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_checksum_values: Option<Vec<(String, String)>>,
    /// What each variable needs itself.
    pub gendeps: BTreeMap<String, NameSet>,
    /// The tasks that count, in the order of hashing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtaskdeps: Option<Vec<String>>,
    /// Their unified hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtaskhashes: Option<BTreeMap<String, String>>,
    /// What marks a task that was forced to run, or that leaves no stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<String>,
    /// The task's name.
    pub task: String,
    /// Every variable the task needs, directly or through others.
    pub taskdeps: NameSet,
    /// Hash of everything; only where the task's place in a graph is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taskhash: Option<String>,
    /// `BB_TASKHASH_IGNORE_TASKS`.
    pub taskhash_ignore_tasks: Option<String>,
    /// The hash that an equivalent task had before, or the taskhash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unihash: Option<String>,
    /// The text of each variable, and of the task itself.
    pub varvals: BTreeMap<String, SigValue>,
}

/// Why a signature file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SigDataError {
    /// It is not compressed as such a file is, or the compression failed.
    #[error("the signature file is not compressed with zstd: {0}")]
    Compression(#[source] std::io::Error),
    /// It unpacks to more than any signature has.
    #[error("the signature file unpacks to more than {LARGEST} bytes")]
    TooLarge,
    /// What it holds is no signature.
    #[error("the signature file does not hold a signature: {0}")]
    Content(#[source] serde_json::Error),
}

impl Diagnostic for SigDataError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some("Name a .sigdata, .sigbasedata or .siginfo file of a stamps or shared state directory.".to_owned())
    }
}

impl SigData {
    /// What a recipe's signatures say of one of its tasks; `None` for a task without one.
    pub fn of_task(signatures: &RecipeSignatures, task: Sym, ignored: impl IntoIterator<Item = Sym>) -> Option<Self> {
        let signature = signatures.tasks.iter().find(|signature| signature.task == task)?;
        let ignored: BTreeSet<String> = ignored.into_iter().map(|name| name.to_string()).collect();
        let mut data = Self {
            basehash: signature.basehash.to_string(),
            task: task.to_string(),
            taskdeps: NameSet { names: signature.depends.iter().map(ToString::to_string).collect() },
            ..Self::default()
        };
        for name in signature.depends.iter().copied().filter(|name| !ignored.contains(name.as_str())) {
            let variable = signatures.variables.get(&name)?;
            let needs = variable.depends.iter().map(ToString::to_string).collect();
            data.gendeps.insert(name.to_string(), NameSet { names: needs });
            data.varvals.insert(name.to_string(), SigValue::of(variable));
        }
        let own = signatures.variables.get(&task)?;
        data.varvals.insert(task.to_string(), SigValue::of(own));
        data.basehash_ignore_vars = NameSet { names: ignored };
        Some(data)
    }

    /// Adds what the task's place in a graph says: the dependencies that count, files and hashes.
    #[must_use]
    pub fn in_graph(
        mut self,
        depends: &[TaskDependency],
        files: &[FileChecksum],
        taskhash: &str,
        unihash: &str,
    ) -> Self {
        let mut depends: Vec<&TaskDependency> = depends.iter().collect();
        depends.sort_unstable_by_key(|dependency| (&dependency.name, &dependency.id));
        self.runtaskdeps = Some(depends.iter().map(|dependency| dependency.name.clone()).collect());
        let hash = |dependency: &&TaskDependency| (dependency.name.clone(), dependency.unihash.clone());
        self.runtaskhashes = Some(depends.iter().map(hash).collect());
        let mut files: Vec<(String, String)> =
            files.iter().map(|file| (clean_path(&file.path), file.md5.clone())).collect();
        files.sort_by(|a, b| a.1.cmp(&b.1));
        files.sort_by(|a, b| a.0.cmp(&b.0));
        self.file_checksum_values = Some(files);
        self.taskhash = Some(taskhash.to_owned());
        self.unihash = Some(unihash.to_owned());
        self
    }

    /// The basehash that the contents give; another than [`SigData::basehash`] means that the file is not whole.
    pub fn compute_basehash(&self) -> String {
        let mut digest = Sha256::new();
        let value = |name: &str| self.varvals.get(name).and_then(SigValue::text).unwrap_or_default();
        digest.update(&*value(&self.task));
        for name in &self.taskdeps.names {
            digest.update(name);
            digest.update(&*value(name));
        }
        hex::encode(digest.finalize())
    }

    /// The taskhash that the contents give, where the task's place in a graph is known.
    pub fn compute_taskhash(&self) -> Option<String> {
        let mut digest = Sha256::new();
        digest.update(&self.basehash);
        for name in self.runtaskdeps.as_ref()? {
            digest.update(self.runtaskhashes.as_ref()?.get(name)?);
        }
        for (path, md5) in self.file_checksum_values.iter().flatten() {
            if path.contains("./") {
                digest.update(path);
            }
            digest.update(md5);
        }
        if let Some(taint) = &self.taint {
            digest.update(taint.strip_prefix("nostamp:").unwrap_or(taint));
        }
        Some(hex::encode(digest.finalize()))
    }

    /// Reads a signature file's bytes.
    ///
    /// # Errors
    ///
    /// Where the bytes are no such file, or unpack beyond reason.
    pub fn read(bytes: &[u8]) -> Result<Self, SigDataError> {
        let mut text = Vec::new();
        let decoder = zstd::stream::Decoder::new(bytes).map_err(SigDataError::Compression)?;
        decoder.take(LARGEST + 1).read_to_end(&mut text).map_err(SigDataError::Compression)?;
        if text.len() as u64 > LARGEST {
            return Err(SigDataError::TooLarge);
        }
        serde_json::from_slice(&text).map_err(SigDataError::Content)
    }

    /// The bytes of its file.
    ///
    /// # Errors
    ///
    /// Where compressing fails, for want of memory.
    pub fn write(&self) -> Result<Vec<u8>, SigDataError> {
        let text = serde_json::to_vec(self).map_err(SigDataError::Content)?;
        zstd::encode_all(text.as_slice(), LEVEL).map_err(SigDataError::Compression)
    }
}
