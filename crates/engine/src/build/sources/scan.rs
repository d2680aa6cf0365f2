//! Finds and hashes the input files of a task.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_digest::stat::{HashFileError, Root, Stamp, hash_file, now_ns};
use buildnet_digest::tree::{MAX_DEPTH, Node};
use buildnet_digest::{Diagnostic, Digest, DigestFunction, ErrorCategory};
use globset::GlobSet;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use parking_lot::Mutex;

use super::fileset::{FileEntry, FileSet, Watched};
use super::patterns::{self, PatternError};
use crate::build::spec::InputGroup;

/// Directories that are never sources, whatever a pattern says.
const NEVER: [&str; 3] = [".git", ".buildnet", "node_modules"];

/// Input files that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file or directory cannot be read.
    #[error("cannot read `{path}`: {error}")]
    Unreadable {
        /// Relative to the workspace root.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The name is not UTF-8, which REAPI's messages cannot carry.
    #[error("the name of `{path}` is not valid UTF-8")]
    NotUtf8 {
        /// The path, with what is invalid replaced.
        path: String,
    },
    /// The file kept changing while it was hashed.
    #[error("`{path}` kept changing while it was hashed")]
    Changing {
        /// Relative to the workspace root.
        path: String,
    },
    /// The directory is nested too deep.
    #[error("`{}…` lies more than {MAX_DEPTH} directories deep", path.chars().take(80).collect::<String>())]
    TooDeep {
        /// Relative to the workspace root.
        path: String,
    },
    /// A pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl Diagnostic for SourceError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Changing { .. } => ErrorCategory::Environment,
            _ => ErrorCategory::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, .. } => {
                format!("make `{path}` readable, or leave it out with an `inputs` pattern such as `!{path}`")
            }
            Self::NotUtf8 { .. } => {
                "rename the file, or leave it out with .gitignore or an `inputs` pattern".to_owned()
            }
            Self::Changing { .. } => "something writes to it; stop that, or leave it out of `inputs`".to_owned(),
            Self::TooDeep { .. } => "leave the directory out with .gitignore or an `inputs` pattern".to_owned(),
            Self::Pattern(_) => "see the section on globs in docs/configuration.md".to_owned(),
        })
    }
}

/// Digests by path and stat data, shared by the scans of one build: tasks of one package have mostly the same inputs.
#[derive(Debug, Default)]
pub struct HashCache {
    digests: Mutex<HashMap<String, (Stamp, Digest)>>,
}

impl HashCache {
    fn get(&self, path: &str, stamp: &Stamp) -> Option<Digest> {
        let digests = self.digests.lock();
        digests.get(path).filter(|(cached, _)| cached == stamp).map(|(_, digest)| *digest)
    }

    fn put(&self, path: &str, stamp: Stamp, digest: Digest) {
        self.digests.lock().insert(path.to_owned(), (stamp, digest));
    }
}

/// Finds the files of all groups and hashes those that `previous` does not hold with the same stat data.
pub fn scan(
    root: &Root,
    groups: &[InputGroup],
    previous: Option<&FileSet>,
    cache: &HashCache,
) -> Result<FileSet, SourceError> {
    let mut scan = Scan {
        root,
        previous,
        cache,
        files: BTreeMap::new(),
        watched: BTreeMap::new(),
        ignores: HashMap::new(),
        now_ns: now_ns(),
    };
    for group in groups {
        scan.group(group)?;
    }
    Ok(FileSet { files: scan.files.into_values().collect(), watched: scan.watched.into_values().collect() })
}

struct Scan<'a> {
    root: &'a Root,
    previous: Option<&'a FileSet>,
    cache: &'a HashCache,
    files: BTreeMap<String, FileEntry>,
    watched: BTreeMap<String, Watched>,
    /// The .gitignore of each directory that was looked at; none where there is none.
    ignores: HashMap<String, Option<Arc<Gitignore>>>,
    now_ns: i64,
}

/// A directory to list.
struct Pending {
    /// Relative to the workspace root.
    path: String,
    /// Relative to the group's base.
    below: String,
    depth: usize,
    /// The .gitignore files that apply, outermost first.
    ignores: Arc<[Arc<Gitignore>]>,
}

impl Scan<'_> {
    fn group(&mut self, group: &InputGroup) -> Result<(), SourceError> {
        let exclude = patterns::compile(group.exclude.iter().map(String::as_str))?;
        let (literal, wild): (Vec<&str>, Vec<&str>) =
            group.include.iter().map(String::as_str).partition(|pattern| patterns::is_literal(pattern));
        for name in literal {
            patterns::check_pattern(name)?;
            if !exclude.is_match(name) {
                self.literal(&join(&group.base, name), group, &exclude)?;
            }
        }
        // Patterns of one reach share a walk.
        let mut walks: BTreeMap<String, (Option<usize>, Vec<&str>)> = BTreeMap::new();
        for pattern in wild {
            let reach = patterns::reach(pattern);
            let walk = walks.entry(reach.prefix).or_insert((Some(0), Vec::new()));
            walk.0 = walk.0.zip(reach.levels).map(|(one, other)| one.max(other));
            walk.1.push(pattern);
        }
        for (prefix, (levels, patterns)) in walks {
            let include = patterns::compile(patterns)?;
            self.walk(group, &prefix, levels, &include, &exclude)?;
        }
        Ok(())
    }

    /// A path that is named without wildcards: a file, or a directory taken whole.
    fn literal(&mut self, path: &str, group: &InputGroup, exclude: &GlobSet) -> Result<(), SourceError> {
        match self.root.stamp(path) {
            Ok(stamp) if stamp.is_directory() => {
                let whole = InputGroup { base: path.to_owned(), ..group.clone() };
                let all = patterns::compile(["**/*"])?;
                self.walk(&whole, "", None, &all, exclude)
            }
            Ok(stamp) => self.file(path, stamp),
            Err(_) => {
                self.watch(path, None);
                Ok(())
            }
        }
    }

    fn walk(
        &mut self,
        group: &InputGroup,
        prefix: &str,
        levels: Option<usize>,
        include: &GlobSet,
        exclude: &GlobSet,
    ) -> Result<(), SourceError> {
        let start = join(&group.base, prefix);
        let ignores = if group.gitignore { self.ignores_above(&start)? } else { Arc::default() };
        let mut pending = vec![Pending { path: start, below: prefix.to_owned(), depth: 0, ignores }];
        while let Some(mut directory) = pending.pop() {
            if directory.depth > MAX_DEPTH {
                return Err(SourceError::TooDeep { path: directory.path });
            }
            let Ok(stamp) = self.root.stamp(&directory.path) else {
                self.watch(&directory.path, None);
                continue;
            };
            if !stamp.is_directory() {
                self.watch(&directory.path, Some(stamp));
                continue;
            }
            self.watch(&directory.path, Some(stamp));
            if group.gitignore
                && let Some(ignore) = self.ignore_of(&directory.path)?
            {
                directory.ignores = directory.ignores.iter().cloned().chain([ignore]).collect();
            }
            for (name, kind) in self.list(&directory.path)? {
                let path = join(&directory.path, &name);
                let below = join(&directory.below, &name);
                let is_directory = kind.is_dir();
                if (is_directory && NEVER.contains(&name.as_str()))
                    || exclude.is_match(&below)
                    || is_ignored(&directory.ignores, &path, is_directory)
                {
                    continue;
                }
                if is_directory {
                    if levels.is_none_or(|levels| directory.depth + 1 < levels) {
                        let ignores = Arc::clone(&directory.ignores);
                        pending.push(Pending { path, below, depth: directory.depth + 1, ignores });
                    }
                } else if (kind.is_file() || kind.is_symlink()) && include.is_match(&below) {
                    match self.root.stamp(&path) {
                        Ok(stamp) => self.file(&path, stamp)?,
                        // Removed since the listing: the directory's stat data will differ, too.
                        Err(_) => self.watch(&path, None),
                    }
                }
            }
        }
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<(String, std::fs::FileType)>, SourceError> {
        let unreadable = |error| SourceError::Unreadable { path: display_path(path), error };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(path)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| SourceError::NotUtf8 { path: join(path, &name.to_string_lossy()) })?;
            names.push((name, entry.file_type().map_err(unreadable)?));
        }
        Ok(names)
    }

    fn file(&mut self, path: &str, stamp: Stamp) -> Result<(), SourceError> {
        if self.files.contains_key(path) {
            return Ok(());
        }
        let known = self.previous.and_then(|previous| previous.get(path));
        let entry = match known {
            Some(entry) if entry.settled && entry.stamp == stamp => entry.clone(),
            _ => {
                let (node, stamp) = self.read(path, stamp)?;
                FileEntry { path: path.to_owned(), node, stamp, settled: stamp.is_settled(self.now_ns) }
            }
        };
        self.files.insert(path.to_owned(), entry);
        Ok(())
    }

    fn read(&self, path: &str, stamp: Stamp) -> Result<(Node, Stamp), SourceError> {
        let absolute = self.root.join(path);
        if stamp.is_symlink() {
            let target = std::fs::read_link(&absolute)
                .map_err(|error| SourceError::Unreadable { path: path.to_owned(), error })?;
            let target = target
                .into_os_string()
                .into_string()
                .map_err(|_| SourceError::NotUtf8 { path: format!("{path} (target of the symlink)") })?;
            return Ok((Node::Symlink { target }, stamp));
        }
        if stamp.is_settled(self.now_ns)
            && let Some(digest) = self.cache.get(path, &stamp)
        {
            return Ok((Node::File { digest, executable: stamp.is_executable() }, stamp));
        }
        let (digest, stamp) = hash_file(&absolute, DigestFunction::Blake3).map_err(|error| unhashed(path, error))?;
        self.cache.put(path, stamp, digest);
        Ok((Node::File { digest, executable: stamp.is_executable() }, stamp))
    }

    fn watch(&mut self, path: &str, stamp: Option<Stamp>) {
        let settled = stamp.is_none_or(|stamp| stamp.is_settled(self.now_ns));
        self.watched.entry(path.to_owned()).or_insert_with(|| Watched { path: path.to_owned(), stamp, settled });
    }

    /// The .gitignore files from the workspace root down to the parent of a directory.
    fn ignores_above(&mut self, directory: &str) -> Result<Arc<[Arc<Gitignore>]>, SourceError> {
        let mut ignores = Vec::new();
        let mut at = String::new();
        let mut seen = HashSet::new();
        for segment in directory.split('/').filter(|segment| !segment.is_empty()) {
            if seen.insert(at.clone())
                && let Some(ignore) = self.ignore_of(&at)?
            {
                ignores.push(ignore);
            }
            at = join(&at, segment);
        }
        Ok(ignores.into())
    }

    fn ignore_of(&mut self, directory: &str) -> Result<Option<Arc<Gitignore>>, SourceError> {
        if let Some(known) = self.ignores.get(directory) {
            return Ok(known.clone());
        }
        let path = join(directory, ".gitignore");
        let stamp = self.root.stamp(&path).ok();
        self.watch(&path, stamp);
        let ignore = if stamp.is_some_and(|stamp| stamp.is_file()) {
            let mut builder = GitignoreBuilder::new(if directory.is_empty() { "." } else { directory });
            let text = std::fs::read(self.root.join(&path))
                .map_err(|error| SourceError::Unreadable { path: path.clone(), error })?;
            for line in String::from_utf8_lossy(&text).lines() {
                // Git itself passes over lines that are no patterns.
                let _ = builder.add_line(None, line);
            }
            builder.build().ok().map(Arc::new)
        } else {
            None
        };
        self.ignores.insert(directory.to_owned(), ignore.clone());
        Ok(ignore)
    }
}

/// Whether the innermost .gitignore that says anything of a path excludes it.
fn is_ignored(ignores: &[Arc<Gitignore>], path: &str, is_directory: bool) -> bool {
    for ignore in ignores.iter().rev() {
        match ignore.matched(path, is_directory) {
            ignore::Match::Ignore(_) => return true,
            ignore::Match::Whitelist(_) => return false,
            ignore::Match::None => {}
        }
    }
    false
}

/// What a failed hash means for the file of this name.
fn unhashed(path: &str, error: HashFileError) -> SourceError {
    match error {
        HashFileError::Io(error) => SourceError::Unreadable { path: path.to_owned(), error },
        HashFileError::Changing => SourceError::Changing { path: path.to_owned() },
    }
}

/// Joins two relative paths, either of which may be empty.
pub(crate) fn join(one: &str, other: &str) -> String {
    match (one, other) {
        ("", path) | (path, "") => path.to_owned(),
        (one, other) => format!("{one}/{other}"),
    }
}

fn display_path(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

/// The absolute paths whose changes a watcher must see for a set to be known fresh without `lstat`.
impl FileSet {
    /// Directories that hold the files and the watched paths, relative to the workspace root.
    pub fn directories(&self) -> HashSet<PathBuf> {
        let parent = |path: &str| Path::new(path).parent().map(Path::to_owned).unwrap_or_default();
        let mut directories: HashSet<PathBuf> = self.files.iter().map(|file| parent(&file.path)).collect();
        for watched in &self.watched {
            directories.insert(parent(&watched.path));
            if watched.stamp.is_some_and(|stamp| stamp.is_directory()) {
                directories.insert(PathBuf::from(&watched.path));
            }
        }
        directories
    }
}
