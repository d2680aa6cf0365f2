//! Finds what a command made.

use std::fs;
use std::path::{Path, PathBuf};

use buildnet_cas::Store;
use buildnet_digest::DigestFunction;
use buildnet_digest::tree::{MAX_DEPTH, Node, TreeError};
use globset::{GlobBuilder, GlobMatcher};

use crate::error::ExecutorError;
use crate::outputs::Output;

/// Most undeclared paths that are told.
const MAX_UNDECLARED: usize = 20;

/// An output where the command left it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) output: Output,
    pub(crate) host: PathBuf,
}

/// What the declared outputs came to.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) found: Vec<Found>,
    /// Declared outputs that are not there.
    pub(crate) missing: Vec<String>,
}

/// Stores every declared output and lists it. `locate` says where on the host a path of the execution root lies.
pub(crate) fn collect(
    store: &Store,
    declared: &[String],
    locate: &dyn Fn(&str) -> PathBuf,
) -> Result<Collection, ExecutorError> {
    let mut collection = Collection::default();
    for pattern in declared {
        let before = collection.found.len();
        for path in expand(pattern, locate)? {
            let host = locate(&path);
            if let Ok(metadata) = fs::symlink_metadata(&host)
                && !is_whiteout(&metadata)
            {
                take(store, path, host, &metadata, &mut collection.found)?;
            }
        }
        if collection.found.len() == before {
            collection.missing.push(pattern.clone());
        }
    }
    Ok(collection)
}

/// A declared output: a path, or a directory with a glob for the names in it.
pub(crate) struct Pattern<'p> {
    parent: &'p str,
    name: &'p str,
    glob: Option<GlobMatcher>,
}

impl<'p> Pattern<'p> {
    pub(crate) fn parse(pattern: &'p str) -> Result<Self, ExecutorError> {
        let (parent, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let bad = || ExecutorError::BadOutput { path: pattern.to_owned(), problem: "is no glob" };
        let glob = pattern.contains(['*', '?', '[', '{']).then(|| {
            let glob = GlobBuilder::new(name).literal_separator(true).build().map_err(|_| bad())?;
            Ok::<_, ExecutorError>(glob.compile_matcher())
        });
        Ok(Self { parent, name, glob: glob.transpose()? })
    }

    /// Whether a path is this output, or lies in it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let below = if self.parent.is_empty() {
            Some(path)
        } else {
            path.strip_prefix(self.parent).and_then(|rest| rest.strip_prefix('/'))
        };
        let name = below.map(|below| below.split('/').next().unwrap_or(below));
        name.is_some_and(|name| self.glob.as_ref().map_or(name == self.name, |glob| glob.is_match(name)))
    }
}

/// The paths that a declared output can mean: itself, or what a glob in its last segment matches.
fn expand(pattern: &str, locate: &dyn Fn(&str) -> PathBuf) -> Result<Vec<String>, ExecutorError> {
    let Pattern { parent, glob: Some(glob), .. } = Pattern::parse(pattern)? else {
        return Ok(vec![pattern.to_owned()]);
    };
    let Ok(listing) = fs::read_dir(locate(parent)) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.map_err(ExecutorError::io("list", parent))?;
        if glob.is_match(Path::new(&entry.file_name())) {
            let name = utf8(&entry.file_name(), parent)?;
            paths.push(if parent.is_empty() { name } else { format!("{parent}/{name}") });
        }
    }
    paths.sort();
    Ok(paths)
}

fn take(
    store: &Store,
    path: String,
    host: PathBuf,
    metadata: &fs::Metadata,
    found: &mut Vec<Found>,
) -> Result<(), ExecutorError> {
    let mut pending = vec![(path, host, metadata.clone())];
    while let Some((path, host, metadata)) = pending.pop() {
        if path.split('/').count() > MAX_DEPTH {
            return Err(TreeError::TooDeep { path }.into());
        }
        let kind = metadata.file_type();
        let node = if kind.is_dir() {
            for entry in fs::read_dir(&host).map_err(ExecutorError::io("list", &path))? {
                let entry = entry.map_err(ExecutorError::io("list", &path))?;
                let metadata = entry.metadata().map_err(ExecutorError::io("read", &path))?;
                if !is_whiteout(&metadata) {
                    pending.push((format!("{path}/{}", utf8(&entry.file_name(), &path)?), entry.path(), metadata));
                }
            }
            Node::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(&host).map_err(ExecutorError::io("read", &path))?;
            let target = utf8(target.as_os_str(), &path)?;
            if target.starts_with('/') {
                return Err(ExecutorError::BadOutput { path, problem: "is a symlink to an absolute path" });
            }
            Node::Symlink { target }
        } else if kind.is_file() {
            Node::File { digest: store.put_file(DigestFunction::Blake3, &host)?, executable: is_executable(&metadata) }
        } else {
            return Err(ExecutorError::BadOutput { path, problem: "is neither file, directory nor symlink" });
        };
        found.push(Found { output: Output { path, node }, host });
    }
    Ok(())
}

/// What a command wrote into its overlay besides the declared outputs: at most 20 paths, relative to the workspace root.
pub(crate) fn undeclared(upper: &Path, declared: impl Fn(&str) -> bool) -> Vec<String> {
    let mut paths = Vec::new();
    let mut pending = vec![(String::new(), upper.to_owned())];
    while let Some((prefix, host)) = pending.pop() {
        let Ok(listing) = fs::read_dir(&host) else { continue };
        for entry in listing.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if declared(&path) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push((path, entry.path())),
                _ => paths.push(path),
            }
            if paths.len() >= MAX_UNDECLARED {
                paths.sort();
                return paths;
            }
        }
    }
    paths.sort();
    paths
}

/// Whether a file stands for a deletion in an overlay's upper directory: a character device 0:0
/// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
fn is_whiteout(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

fn utf8(name: &std::ffi::OsStr, parent: &str) -> Result<String, ExecutorError> {
    name.to_str().map(str::to_owned).ok_or_else(|| ExecutorError::BadOutput {
        path: format!("{parent}/{}", name.to_string_lossy()),
        problem: "has a name that is not valid UTF-8",
    })
}
