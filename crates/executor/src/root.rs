//! The directory an action runs over: its inputs and nothing else.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use buildnet_cas::{Sharing, Store};
use buildnet_digest::stat::Root;
use buildnet_digest::tree::Node;

use crate::error::ExecutorError;
use crate::execute::Input;

/// Sources up to this size are copied; larger ones are mounted one by one, which costs less than copying them.
const COPY_LIMIT: u64 = 256 * 1024;

/// An execution root in a scratch directory: removed when dropped.
///
/// Sources are copied, not hard-linked: a link would change their inode's ctime, by which changes are seen, and would show the
/// command edits that are made while it runs.
#[derive(Debug)]
pub(crate) struct ExecutionRoot {
    directory: PathBuf,
    /// Large sources, relative to the root, that the sandbox must mount.
    pub(crate) mounted: Vec<String>,
}

impl ExecutionRoot {
    /// Creates an empty root at a path that does not exist yet.
    pub(crate) fn create(directory: PathBuf) -> Result<Self, ExecutorError> {
        let root = Self { directory, mounted: Vec::new() };
        for part in [root.lower(), root.upper(), root.work()] {
            fs::create_dir_all(&part).map_err(ExecutorError::io("create", part.display().to_string()))?;
        }
        Ok(root)
    }

    /// Holds the inputs.
    pub(crate) fn lower(&self) -> PathBuf {
        self.directory.join("lower")
    }

    /// Receives what the command writes.
    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// For the overlay's own use.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.join("work")
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
        let lower = self.lower();
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
                    Some(stamp) if stamp.size > COPY_LIMIT => {
                        fs::write(&to, []).map_err(ExecutorError::io("create", &input.path))?;
                        self.mounted.push(input.path.clone());
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
}

impl Drop for ExecutionRoot {
    fn drop(&mut self) {
        // What stays behind after a failure here is removed when the next executor opens the scratch directory.
        if fs::remove_dir_all(&self.directory).is_err() {
            // A command may have taken away its own permission to search a directory.
            let _ = unlock(&self.directory);
            let _ = fs::remove_dir_all(&self.directory);
        }
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
        made.insert(path.to_owned());
    }
    Ok(())
}
