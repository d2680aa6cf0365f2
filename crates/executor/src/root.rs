//! The directory an action runs over: its inputs and nothing else.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use buildnet_cas::{Sharing, Store};
use buildnet_digest::Digest;
use buildnet_digest::stat::Root;
use buildnet_digest::tree::Node;

use crate::error::ExecutorError;
use crate::execute::Input;
use crate::scratch::Slot;

/// Inputs up to this size are copied; larger ones are mounted one by one, which costs less than copying them.
const COPY_LIMIT: u64 = 256 * 1024;

/// Most bytes of copies that are kept in memory.
const MEMORY_LIMIT: u64 = 128 << 20;

/// An execution root in scratch directories: removed when dropped.
///
/// Sources are copied, not hard-linked: a link would change their inode's ctime, by which changes are seen, and would show the
/// command edits that are made while it runs. The copies lie in memory where there is a place for that: making and removing
/// directories by the hundred is what disk file systems do slowly. What the command writes always lies on disk.
#[derive(Debug)]
pub(crate) struct ExecutionRoot {
    slot: Slot,
    disk: PathBuf,
    lower: PathBuf,
    /// Large inputs that the sandbox must mount.
    pub(crate) mounted: Vec<Mounted>,
}

/// A large input that is mounted over an empty file in the execution root.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// Path relative to the root.
    pub(crate) path: String,
    /// Where it really lies.
    pub(crate) source: PathBuf,
}

impl ExecutionRoot {
    /// An empty root; its inputs in memory if they fit there.
    pub(crate) fn create(slot: Slot, inputs: &[Input]) -> Result<Self, ExecutorError> {
        let sizes = inputs.iter().map(|input| match &input.node {
            Node::File { digest, .. } if digest.size() <= COPY_LIMIT => digest.size(),
            _ => 0,
        });
        let small = sizes.sum::<u64>() <= MEMORY_LIMIT;
        let disk = slot.disk();
        let lower = slot.memory().filter(|_| small).unwrap_or_else(|| disk.join("lower"));
        let root = Self { slot, disk, lower, mounted: Vec::new() };
        for part in [&root.lower, &root.upper(), &root.work()] {
            fs::create_dir_all(part).map_err(ExecutorError::io("create", part.display().to_string()))?;
        }
        Ok(root)
    }

    /// Holds the inputs.
    pub(crate) fn lower(&self) -> &Path {
        &self.lower
    }

    /// Receives what the command writes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.disk.join("upper")
    }

    /// For the overlay's own use.
    pub(crate) fn work(&self) -> PathBuf {
        self.disk.join("work")
    }

    /// Lays out the inputs, and the parents of what will be written.
    ///
    /// With `times` a copy gets as its modification time the time at which its source last changed in any way. A tool that keeps
    /// state between runs, such as Cargo, compares modification times with those of its last run: those of the sources
    /// themselves can lie (a file moved into place keeps an old one), and those of fresh copies would say that all is new.
    pub(crate) fn fill(
        &mut self,
        store: &Store,
        workspace: &Root,
        inputs: &[Input],
        directories: &[String],
        times: bool,
    ) -> Result<(), ExecutorError> {
        let lower = self.lower.clone();
        let mut made = HashSet::new();
        for input in inputs {
            let to = lower.join(&input.path);
            if let Some(parent) = to.parent() {
                make_parents(&mut made, parent, &input.path)?;
            }
            match &input.node {
                Node::Directory => make_parents(&mut made, &to, &input.path)?,
                Node::Symlink { target } => {
                    std::os::unix::fs::symlink(target, &to).map_err(ExecutorError::io("create", &input.path))?;
                }
                Node::File { digest, executable } => match &input.source {
                    source if digest.size() > COPY_LIMIT => {
                        let from = match source {
                            Some(_) => workspace.join(&input.path),
                            None => self.blob(store, digest, *executable, &input.path)?,
                        };
                        fs::write(&to, []).map_err(ExecutorError::io("create", &input.path))?;
                        self.mounted.push(Mounted { path: input.path.clone(), source: from });
                    }
                    Some(stamp) => {
                        fs::copy(workspace.join(&input.path), &to).map_err(ExecutorError::io("copy", &input.path))?;
                        if times {
                            set_time(&to, stamp.ctime_ns).map_err(ExecutorError::io("copy", &input.path))?;
                        }
                        if workspace.stamp(&input.path) != Ok(*stamp) {
                            return Err(ExecutorError::InputChanged { path: input.path.clone() });
                        }
                    }
                    None => {
                        if !store.place(digest, &to, *executable, Sharing::ReadOnly)? {
                            return Err(ExecutorError::Lost { digest: *digest, path: input.path.clone() });
                        }
                    }
                },
            }
        }
        for directory in directories.iter().filter(|directory| !directory.is_empty()) {
            make_parents(&mut made, &lower.join(directory), directory)?;
        }
        Ok(())
    }

    /// A large blob beside the inputs, on disk, where it may be a hard link.
    fn blob(&self, store: &Store, digest: &Digest, executable: bool, path: &str) -> Result<PathBuf, ExecutorError> {
        let directory = self.disk.join("blobs");
        fs::create_dir_all(&directory).map_err(ExecutorError::io("create", path))?;
        let to = directory.join(self.mounted.len().to_string());
        if store.place(digest, &to, executable, Sharing::ReadOnly)? {
            Ok(to)
        } else {
            Err(ExecutorError::Lost { digest: *digest, path: path.to_owned() })
        }
    }
}

impl Drop for ExecutionRoot {
    fn drop(&mut self) {
        // The two directories of the overlay stay for the next root: making and removing directories is what costs.
        let kept = empty(&self.upper()).and_then(|()| empty(&self.work()));
        let removed = [self.lower.clone(), self.disk.join("blobs")].iter().all(|directory| remove(directory).is_ok());
        // What stays behind after a failure here is removed when the next executor opens the scratch directory.
        if kept.is_err() || !removed {
            let _ = remove(&self.disk);
            self.slot.spoil();
        }
    }
}

/// Removes what is in a directory.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes a directory with all that is in it, if it is there.
fn remove(directory: &Path) -> std::io::Result<()> {
    let result = fs::remove_dir_all(directory).or_else(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Ok(());
        }
        // A command may have taken away its own permission to search a directory.
        unlock(directory)?;
        fs::remove_dir_all(directory)
    });
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Through the path, not an open file: a copy may be read-only.
fn set_time(path: &Path, nanos: i64) -> std::io::Result<()> {
    let time =
        rustix::fs::Timespec { tv_sec: nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}

fn unlock(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

fn make_parents(made: &mut HashSet<PathBuf>, path: &Path, name: &str) -> Result<(), ExecutorError> {
    if !made.contains(path) {
        fs::create_dir_all(path).map_err(ExecutorError::io("create", name))?;
        // Its parents are there now, too.
        made.extend(path.ancestors().map(Path::to_owned));
    }
    Ok(())
}
