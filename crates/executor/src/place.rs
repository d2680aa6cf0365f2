//! Puts outputs into a workspace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use buildnet_cas::{Sharing, Store};
use buildnet_digest::stat::{Root, Stamp};
use buildnet_digest::tree::Node;
use serde::{Deserialize, Serialize};

use crate::error::ExecutorError;
use crate::outputs::{Output, Outputs};

/// Outputs in a workspace, with the stat data that shows whether anybody changed them since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The outputs.
    pub outputs: Outputs,
    /// For each of the outputs, in the same order: its stat data; none for directories, which others may write to.
    stamps: Vec<Option<Stamp>>,
}

impl Placed {
    /// The first output that is missing or was changed since it was placed.
    pub fn changed<'a>(&'a self, root: &Root) -> Option<&'a str> {
        let same = |output: &Output, stamp: &Option<Stamp>| match (stamp, root.stamp(&output.path)) {
            (Some(before), Ok(now)) => *before == now,
            (None, Ok(now)) => now.is_directory(),
            (_, Err(_)) => false,
        };
        let mut pairs = self.outputs.entries().iter().zip(&self.stamps);
        pairs.find(|(output, stamp)| !same(output, stamp)).map(|(output, _)| output.path.as_str())
    }

    /// What the stat data says of an output.
    fn stamp(&self, path: &str) -> Option<(&Node, Stamp)> {
        let entries = self.outputs.entries();
        let index = entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some((&entries[index].node, self.stamps[index]?))
    }
}

/// Makes the workspace hold exactly `outputs` where it held `previous`.
///
/// Each file appears atomically. `staged` says where a fresh copy of an output lies that may be moved; without one it comes from
/// the store. What `previous` holds beyond `outputs` is removed; what others put into output directories stays.
pub fn place(
    store: &Store,
    root: &Root,
    outputs: &Outputs,
    previous: Option<&Placed>,
    staged: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<Placed, ExecutorError> {
    if let Some(previous) = previous {
        let stale = previous.outputs.entries().iter().filter(|output| outputs.get(&output.path).is_none());
        remove_paths(root, stale)?;
    }
    let mut stamps = Vec::with_capacity(outputs.entries().len());
    let mut made = None;
    for Output { path, node } in outputs.entries() {
        let unchanged = previous
            .and_then(|previous| previous.stamp(path))
            .is_some_and(|(before, stamp)| before == node && root.stamp(path) == Ok(stamp));
        if !unchanged {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if made != Some(parent) {
                make_directories(root, parent)?;
                made = Some(parent);
            }
            place_one(store, root, path, node, staged)?;
        }
        let stamp = root.stamp(path).map_err(|error| ExecutorError::io("read", path)(error.into()))?;
        stamps.push((!matches!(node, Node::Directory)).then_some(stamp));
    }
    Ok(Placed { outputs: outputs.clone(), stamps })
}

fn place_one(
    store: &Store,
    root: &Root,
    path: &str,
    node: &Node,
    staged: &dyn Fn(&str) -> Option<PathBuf>,
) -> Result<(), ExecutorError> {
    let to = root.join(path);
    let in_the_way = |problem| ExecutorError::InTheWay { path: path.to_owned(), problem };
    let present = root.stamp(path).ok();
    if matches!(node, Node::Directory) {
        return match present {
            Some(stamp) if stamp.is_directory() => Ok(()),
            Some(_) => Err(in_the_way("there is a file where a directory must be")),
            None => fs::create_dir(&to).map_err(ExecutorError::io("create", path)),
        };
    }
    if present.is_some_and(|stamp| stamp.is_directory()) {
        // An empty one may go; anything in it is not ours to delete.
        fs::remove_dir(&to).map_err(|_| in_the_way("there is a directory where a file must be"))?;
    }
    match node {
        Node::File { digest, executable } => {
            if let Some(from) = staged(path) {
                normalise(&from, *executable).map_err(ExecutorError::io("place", path))?;
                match fs::rename(&from, &to) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                    Err(error) => return Err(ExecutorError::io("place", path)(error)),
                }
            }
            if store.place(digest, &to, *executable, Sharing::Private)? {
                Ok(())
            } else {
                Err(ExecutorError::Lost { digest: *digest, path: path.to_owned() })
            }
        }
        Node::Symlink { target } => {
            if present.is_some() {
                fs::remove_file(&to).map_err(ExecutorError::io("replace", path))?;
            }
            std::os::unix::fs::symlink(target, &to).map_err(ExecutorError::io("create", path))
        }
        Node::Directory => Ok(()),
    }
}

/// Gives a file the permissions that it would have if it came from the store.
fn normalise(path: &Path, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if executable { 0o755 } else { 0o644 };
    if fs::symlink_metadata(path)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Creates a directory and its parents below the root, going through real directories only, never through a symlink.
fn make_directories(root: &Root, path: &str) -> Result<(), ExecutorError> {
    if path.is_empty() || root.stamp(path).is_ok_and(|stamp| stamp.is_directory()) && !has_symlink(root, path) {
        return Ok(());
    }
    let mut at = String::new();
    for segment in path.split('/') {
        at = if at.is_empty() { segment.to_owned() } else { format!("{at}/{segment}") };
        match root.stamp(&at) {
            Ok(stamp) if stamp.is_directory() => {}
            Ok(_) => {
                let problem = "one of its parents is a file or a symlink";
                return Err(ExecutorError::InTheWay { path: at, problem });
            }
            Err(_) => match fs::create_dir(root.join(&at)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(ExecutorError::io("create", at)(error));
                }
                _ => {}
            },
        }
    }
    Ok(())
}

fn has_symlink(root: &Root, path: &str) -> bool {
    let cuts = path.match_indices('/').map(|(index, _)| &path[..index]);
    cuts.into_iter().any(|parent| root.stamp(parent).is_ok_and(|stamp| stamp.is_symlink()))
}

/// Removes outputs from a workspace: files, then the directories that are empty after that.
pub fn remove(root: &Root, outputs: &Outputs) -> Result<(), ExecutorError> {
    remove_paths(root, outputs.entries().iter())
}

fn remove_paths<'a>(root: &Root, outputs: impl DoubleEndedIterator<Item = &'a Output>) -> Result<(), ExecutorError> {
    // Children sort after their directories.
    for output in outputs.rev() {
        let path = root.join(&output.path);
        if has_symlink(root, &output.path) {
            continue;
        }
        let result = match output.node {
            Node::Directory => match fs::remove_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                result => result,
            },
            _ => match root.stamp(&output.path) {
                Ok(stamp) if stamp.is_directory() => Ok(()),
                _ => fs::remove_file(&path),
            },
        };
        match result {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(ExecutorError::io("remove", &output.path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
