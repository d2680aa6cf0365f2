//! Why a task's hash is another one, in words.

use std::collections::{BTreeMap, BTreeSet};

use super::Sigdata;

/// What differs from `old` to `new`, one sentence each, causes before consequences: variables, what they refer to, files, tasks.
pub fn differences(old: &Sigdata, new: &Sigdata) -> Vec<String> {
    let mut told = Vec::new();
    for (name, change) in changes(&old.values, &new.values) {
        told.push(match change {
            Change::Gone => format!("the variable {name} is no longer used"),
            Change::New(value) => format!("the variable {name} is new: {}", quoted(value.as_deref())),
            Change::Other(before, after) => {
                format!("the variable {name} changed: {}", value_change(before.as_deref(), after.as_deref()))
            }
        });
    }
    for (name, change) in changes(&old.refers, &new.refers) {
        if let Change::Other(before, after) = change {
            let list = |set: BTreeSet<&String>| set.into_iter().cloned().collect::<Vec<_>>().join(", ");
            let (gone, new) = (before.difference(after).collect(), after.difference(before).collect());
            let (gone, new): (String, String) = (list(gone), list(new));
            let mut text = format!("what {name} refers to changed:");
            if !new.is_empty() {
                text.extend([" now also ", &new]);
            }
            if !gone.is_empty() {
                text.extend([if new.is_empty() { " " } else { "; " }, "no longer ", &gone]);
            }
            told.push(text);
        }
    }
    let by_name = |data: &Sigdata| {
        let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, digest) in &data.files {
            files.entry(name.clone()).or_default().push(digest.clone());
        }
        files
    };
    for (name, change) in changes(&by_name(old), &by_name(new)) {
        told.push(match change {
            Change::Gone => format!("the file {name} is no longer an input"),
            Change::New(_) => format!("the file {name} is a new input"),
            Change::Other(..) => format!("the content of the file {name} changed"),
        });
    }
    for (name, change) in changes(&old.depends, &new.depends) {
        told.push(match change {
            Change::Gone => format!("it no longer depends on the task {name}"),
            Change::New(_) => format!("it depends on the task {name}, which is new"),
            Change::Other(before, after) => {
                format!("the hash of the task {name}, on which it depends, changed from {before} to {after}")
            }
        });
    }
    if old.taint != new.taint {
        told.push(match &new.taint {
            Some(taint) => format!("it is tainted: {taint}"),
            None => "it is no longer tainted".to_owned(),
        });
    }
    told
}

enum Change<'a, T> {
    Gone,
    New(&'a T),
    Other(&'a T, &'a T),
}

fn changes<'a, T: PartialEq>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> Vec<(&'a String, Change<'a, T>)> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &'a String| match (old.get(name), new.get(name)) {
        (Some(before), Some(after)) if before != after => Some((name, Change::Other(before, after))),
        (Some(_), None) => Some((name, Change::Gone)),
        (None, Some(after)) => Some((name, Change::New(after))),
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

fn quoted(value: Option<&str>) -> String {
    value.map_or_else(|| "not set".to_owned(), |value| format!("{value:?}"))
}

/// A change of a short text whole, of a long one by its lines.
fn value_change(before: Option<&str>, after: Option<&str>) -> String {
    let (Some(old), Some(new)) = (before, after) else {
        return format!("from {} to {}", quoted(before), quoted(after));
    };
    if !old.contains('\n') && !new.contains('\n') {
        return format!("from {old:?} to {new:?}");
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut out = format!("from line {} of its text", start + 1);
    for (mark, lines) in [("-", &old[start..old.len() - end]), ("+", &new[start..new.len() - end])] {
        for line in lines {
            out.extend(["\n    ", mark, line]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_in_words() {
        let values = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
        };
        let old = Sigdata {
            values: values(&[("A", "1"), ("do_x", "a\nb\nc\n"), ("G", "")]),
            files: [("f".to_owned(), "1".to_owned())].into(),
            depends: [("b:do_y".to_owned(), "22".to_owned())].into(),
            ..Sigdata::default()
        };
        let new = Sigdata {
            values: values(&[("A", "2"), ("do_x", "a\nB\nc\n"), ("N", "n")]),
            files: [("f".to_owned(), "2".to_owned())].into(),
            depends: [("b:do_y".to_owned(), "23".to_owned())].into(),
            ..Sigdata::default()
        };
        assert_eq!(
            differences(&old, &new),
            [
                "the variable A changed: from \"1\" to \"2\"",
                "the variable G is no longer used",
                "the variable N is new: \"n\"",
                "the variable do_x changed: from line 2 of its text\n    -b\n    +B",
                "the content of the file f changed",
                "the hash of the task b:do_y, on which it depends, changed from 22 to 23",
            ]
        );
        assert!(differences(&new, &new).is_empty());
    }
}
