//! What makes two signatures differ, in words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::sigdata::{SigData, SigValue};

/// Longer values are shown line by line, or word by word.
const SHORT: usize = 60;

/// One reason why two signatures differ. The first signature is the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The variables that no hash covers were others.
    Ignored {
        /// Those that are ignored now only.
        added: Vec<String>,
        /// Those that were ignored before only.
        removed: Vec<String>,
    },
    /// The task needs a variable that it did not need.
    VariableAdded(String),
    /// The task no longer needs a variable.
    VariableRemoved(String),
    /// The text of a variable, or of the task's function, is another.
    Value {
        /// Its name.
        name: String,
        /// Before.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// A variable of the same text needs others.
    Needs {
        /// Its name.
        name: String,
        /// Those it needs now only.
        added: Vec<String>,
        /// Those it needed before only.
        removed: Vec<String>,
    },
    /// A local file counts that did not.
    FileAdded(String),
    /// A local file no longer counts.
    FileRemoved(String),
    /// A local file has another content.
    File {
        /// Its path, as it counts for the hash.
        path: String,
        /// MD5 before.
        old: String,
        /// MD5 now.
        new: String,
    },
    /// A dependency on a task that was not there.
    TaskAdded {
        /// Recipe and task.
        name: String,
        /// Its hash.
        hash: String,
    },
    /// A dependency on a task that is gone.
    TaskRemoved {
        /// Recipe and task.
        name: String,
        /// Its hash.
        hash: String,
    },
    /// A task that this one depends on has another hash: the reason is there.
    Task {
        /// Recipe and task.
        name: String,
        /// Its hash before.
        old: String,
        /// Its hash now.
        new: String,
    },
    /// The task was forced, or leaves no stamp.
    Taint {
        /// Before.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
}

/// Everything in which two signatures of a task differ; nothing when their hashes are the same.
pub fn differences(old: &SigData, new: &SigData) -> Vec<Difference> {
    let mut found = Vec::new();
    let (added, removed) = apart(&old.basehash_ignore_vars.names, &new.basehash_ignore_vars.names);
    if !added.is_empty() || !removed.is_empty() {
        found.push(Difference::Ignored { added, removed });
    }
    let (added, removed) = apart(&old.taskdeps.names, &new.taskdeps.names);
    found.extend(added.into_iter().map(Difference::VariableAdded));
    found.extend(removed.into_iter().map(Difference::VariableRemoved));
    for (name, before) in &old.varvals {
        match new.varvals.get(name) {
            Some(now) if now.text() != before.text() => {
                let text = |value: &SigValue| value.text().map(Cow::into_owned);
                found.push(Difference::Value { name: name.clone(), old: text(before), new: text(now) });
            }
            _ => {}
        }
    }
    for (name, before) in &old.gendeps {
        if let Some(now) = new.gendeps.get(name) {
            let (added, removed) = apart(&before.names, &now.names);
            if !added.is_empty() || !removed.is_empty() {
                found.push(Difference::Needs { name: name.clone(), added, removed });
            }
        }
    }
    files(old, new, &mut found);
    tasks(old, new, &mut found);
    if old.taint != new.taint {
        found.push(Difference::Taint { old: old.taint.clone(), new: new.taint.clone() });
    }
    found
}

/// What only the second set has, and what only the first has.
fn apart(old: &BTreeSet<String>, new: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
    (new.difference(old).cloned().collect(), old.difference(new).cloned().collect())
}

/// Files of one name are told apart by their content, as the same name may stand for several.
fn files(old: &SigData, new: &SigData, found: &mut Vec<Difference>) {
    let mut gone: Vec<&(String, String)> = old.file_checksum_values.iter().flatten().collect();
    let mut came = Vec::new();
    for file in new.file_checksum_values.iter().flatten() {
        match gone.iter().position(|other| *other == file) {
            Some(at) => drop(gone.remove(at)),
            None => came.push(file),
        }
    }
    for (path, md5) in came {
        match gone.iter().position(|(other, _)| other == path) {
            Some(at) => {
                let (_, before) = gone.remove(at);
                found.push(Difference::File { path: path.clone(), old: before.clone(), new: md5.clone() });
            }
            None => found.push(Difference::FileAdded(path.clone())),
        }
    }
    found.extend(gone.into_iter().map(|(path, _)| Difference::FileRemoved(path.clone())));
}

fn tasks(old: &SigData, new: &SigData, found: &mut Vec<Difference>) {
    let none = BTreeMap::new();
    let (old, new) = (old.runtaskhashes.as_ref().unwrap_or(&none), new.runtaskhashes.as_ref().unwrap_or(&none));
    for (name, hash) in new {
        match old.get(name) {
            None => found.push(Difference::TaskAdded { name: name.clone(), hash: hash.clone() }),
            Some(before) if before != hash => {
                found.push(Difference::Task { name: name.clone(), old: before.clone(), new: hash.clone() });
            }
            Some(_) => {}
        }
    }
    for (name, hash) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        found.push(Difference::TaskRemoved { name: name.clone(), hash: hash.clone() });
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { added, removed } => {
                f.write_str("the ignored variables changed:")?;
                changes(f, added, removed)
            }
            Self::VariableAdded(name) => write!(f, "{name} is needed now"),
            Self::VariableRemoved(name) => write!(f, "{name} is no longer needed"),
            Self::Value { name, old, new } => value(f, name, old.as_deref(), new.as_deref()),
            Self::Needs { name, added, removed } => {
                write!(f, "{name} needs other variables:")?;
                changes(f, added, removed)
            }
            Self::FileAdded(path) => write!(f, "the file {path} counts now"),
            Self::FileRemoved(path) => write!(f, "the file {path} no longer counts"),
            Self::File { path, old, new } => write!(f, "the file {path} changed (MD5 {old} to {new})"),
            Self::TaskAdded { name, hash } => write!(f, "it depends on {name} now (hash {hash})"),
            Self::TaskRemoved { name, hash } => write!(f, "it no longer depends on {name} (hash {hash})"),
            Self::Task { name, old, new } => write!(f, "{name} changed (hash {old} to {new})"),
            Self::Taint { old: None, new: Some(_) } => f.write_str("it was forced to run, or leaves no stamp"),
            Self::Taint { old: Some(_), new: None } => f.write_str("it is no longer forced to run"),
            Self::Taint { .. } => f.write_str("it was forced to run again"),
        }
    }
}

fn changes(f: &mut fmt::Formatter<'_>, added: &[String], removed: &[String]) -> fmt::Result {
    for name in added {
        write!(f, " +{name}")?;
    }
    for name in removed {
        write!(f, " -{name}")?;
    }
    Ok(())
}

fn value(f: &mut fmt::Formatter<'_>, name: &str, old: Option<&str>, new: Option<&str>) -> fmt::Result {
    let (Some(old), Some(new)) = (old, new) else {
        let state = |value: Option<&str>| value.map_or("unset".to_owned(), |value| format!("{value:?}"));
        return write!(f, "{name} changed from {} to {}", state(old), state(new));
    };
    if old.len() <= SHORT && new.len() <= SHORT && !old.contains('\n') && !new.contains('\n') {
        return write!(f, "{name} changed from {old:?} to {new:?}");
    }
    let by_line = old.contains('\n') || new.contains('\n');
    let parts = |text: &'_ str| -> Vec<String> {
        if by_line {
            text.lines().map(str::to_owned).collect()
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        }
    };
    let (old, new) = (parts(old), parts(new));
    // What both begin and end with says nothing.
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = |parts: &[String]| parts.len() - start;
    let most = rest(&old).min(rest(&new));
    let end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(old, new)| old == new).count();
    let (gone, came) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    write!(f, "{name} changed, from {} {} on:", if by_line { "line" } else { "word" }, start + 1)?;
    if gone.is_empty() && came.is_empty() {
        return f.write_str(" only white space");
    }
    for (sign, parts) in [('-', gone), ('+', came)] {
        for part in parts {
            write!(f, "\n  {sign} {part}")?;
        }
    }
    Ok(())
}
