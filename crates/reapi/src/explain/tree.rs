//! Input trees, by path. Only directories whose digests differ are read, a level at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use buildnet_digest::{Digest, reapi};
use bytes::Bytes;

use super::difference::{Difference, FileFacts, Unknown};
use super::fetch::{Messages, decode};
use super::{ExplainError, Explanation};

/// Most pairs of directories that are looked at. A tree may name one directory very often, so that its messages do not bound it.
const MAX_DIRECTORIES: usize = 200_000;

/// A directory that at least one of the two has.
struct Pair {
    path: String,
    a: Option<Digest>,
    b: Option<Digest>,
}

enum Entry {
    File(FileFacts, Option<reapi::NodeProperties>),
    Directory(Digest),
    Symlink(String, Option<reapi::NodeProperties>),
}

pub(super) async fn compare(
    messages: &Messages<'_>,
    a: Digest,
    b: Digest,
    into: &mut Explanation,
) -> Result<(), ExplainError> {
    let mut level = vec![Pair { path: String::new(), a: Some(a), b: Some(b) }];
    let mut seen = 0;
    while !level.is_empty() {
        seen += level.len();
        if seen > MAX_DIRECTORIES {
            into.truncated = true;
            return Ok(());
        }
        let wanted: BTreeSet<Digest> = level.iter().flat_map(|pair| [pair.a, pair.b]).flatten().collect();
        let wanted: Vec<Digest> = wanted.into_iter().collect();
        let blobs = messages.read(&wanted).await?;
        let mut next = Vec::new();
        for pair in level {
            directories(&pair, &blobs, &mut next, into)?;
            if into.truncated {
                return Ok(());
            }
        }
        level = next;
    }
    Ok(())
}

fn directories(
    pair: &Pair,
    blobs: &HashMap<Digest, Bytes>,
    next: &mut Vec<Pair>,
    into: &mut Explanation,
) -> Result<(), ExplainError> {
    let mut read = |digest: Option<Digest>, in_a: bool| -> Result<Option<reapi::Directory>, ExplainError> {
        let Some(digest) = digest else { return Ok(Some(reapi::Directory::default())) };
        if let Some(blob) = blobs.get(&digest) {
            return decode("directory", &digest, blob.clone()).map(Some);
        }
        into.unknown.push(Unknown { path: pair.path.clone(), digest, in_a });
        Ok(None)
    };
    let (a, b) = (read(pair.a, true)?, read(pair.b, false)?);
    let (Some(a), Some(b)) = (a, b) else { return Ok(()) };
    let before = (into.differences.len(), next.len());
    if pair.a.is_some() && pair.b.is_some() && a.node_properties != b.node_properties {
        into.push(Difference::NodeProperties { path: pair.path.clone() });
    }
    let function = pair.a.or(pair.b).map(|digest| digest.function());
    let entries = |directory, whole: Option<Digest>| {
        let function = function.unwrap_or(buildnet_digest::DigestFunction::Sha256);
        entries(function, directory).ok_or_else(|| ExplainError::Malformed {
            what: "a directory",
            digest: Box::new(whole.unwrap_or(Digest::empty(function))),
        })
    };
    let (mut entries_a, mut entries_b) = (entries(a, pair.a)?, entries(b, pair.b)?);
    let names: BTreeSet<String> = entries_a.keys().chain(entries_b.keys()).cloned().collect();
    for name in names {
        let path = if pair.path.is_empty() { name.clone() } else { format!("{}/{name}", pair.path) };
        entry(path, entries_a.remove(&name), entries_b.remove(&name), next, into);
    }
    if before == (into.differences.len(), next.len()) && pair.a.is_some() && pair.b.is_some() {
        let what = if pair.path.is_empty() { "input root".to_owned() } else { format!("directory {}", pair.path) };
        into.push(Difference::Encoding { what });
    }
    Ok(())
}

fn entries(function: buildnet_digest::DigestFunction, directory: reapi::Directory) -> Option<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    for file in directory.files {
        let digest = Digest::from_reapi(function, file.digest.as_ref()?).ok()?;
        let facts = FileFacts { digest, executable: file.is_executable };
        entries.insert(file.name, Entry::File(facts, file.node_properties));
    }
    for directory in directory.directories {
        let digest = Digest::from_reapi(function, directory.digest.as_ref()?).ok()?;
        entries.insert(directory.name, Entry::Directory(digest));
    }
    for symlink in directory.symlinks {
        entries.insert(symlink.name, Entry::Symlink(symlink.target, symlink.node_properties));
    }
    Some(entries)
}

/// One name in two directories. Where its kind differs, it is gone from the one and new in the other.
fn entry(path: String, a: Option<Entry>, b: Option<Entry>, next: &mut Vec<Pair>, into: &mut Explanation) {
    match (a, b) {
        (Some(Entry::File(a, properties_a)), Some(Entry::File(b, properties_b))) => {
            if a != b {
                into.push(Difference::File { path, a: Some(a), b: Some(b) });
            } else if properties_a != properties_b {
                into.push(Difference::NodeProperties { path });
            }
        }
        (Some(Entry::Directory(a)), Some(Entry::Directory(b))) => {
            if a != b {
                next.push(Pair { path, a: Some(a), b: Some(b) });
            }
        }
        (Some(Entry::Symlink(a, properties_a)), Some(Entry::Symlink(b, properties_b))) => {
            if a != b {
                into.push(Difference::Symlink { path, a: Some(a), b: Some(b) });
            } else if properties_a != properties_b {
                into.push(Difference::NodeProperties { path });
            }
        }
        (a, b) => {
            for (entry, in_a) in [(a, true), (b, false)] {
                let Some(entry) = entry else { continue };
                alone(path.clone(), entry, in_a, next, into);
            }
        }
    }
}

fn alone(path: String, entry: Entry, in_a: bool, next: &mut Vec<Pair>, into: &mut Explanation) {
    fn sides<T>(value: T, in_a: bool) -> (Option<T>, Option<T>) {
        if in_a { (Some(value), None) } else { (None, Some(value)) }
    }
    match entry {
        Entry::File(facts, _) => {
            let (a, b) = sides(facts, in_a);
            into.push(Difference::File { path, a, b });
        }
        Entry::Symlink(target, _) => {
            let (a, b) = sides(target, in_a);
            into.push(Difference::Symlink { path, a, b });
        }
        Entry::Directory(digest) => {
            into.push(Difference::Directory { path: path.clone(), in_a });
            let (a, b) = sides(digest, in_a);
            next.push(Pair { path, a, b });
        }
    }
}
