//! Finding a workspace and its packages without configuration.

pub(crate) mod cargo;
mod globs;
pub(crate) mod npm;
mod npm_outputs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config;
use crate::error::{Problem, ProblemKind, WorkspaceError};
use crate::model::Package;
use crate::text::SourceText;

/// The root of the workspace that `from` lies in: the nearest directory upward with a `buildnet.yaml`, or else the nearest with
/// the manifest of an npm, pnpm, yarn or Cargo workspace, or else the nearest with a `package.json` or `Cargo.toml`.
pub fn find_root(from: &Path) -> Result<PathBuf, WorkspaceError> {
    let from = std::fs::canonicalize(from).map_err(|error| {
        Problem::new(ProblemKind::Unreadable { path: from.display().to_string(), reason: error.to_string() })
    })?;
    let find = |test: &dyn Fn(&Path) -> bool| from.ancestors().find(|directory| test(directory)).map(Path::to_path_buf);
    find(&|directory| directory.join(config::FILE_NAME).is_file())
        .or_else(|| find(&is_workspace_root))
        .or_else(|| find(&|directory| directory.join("package.json").is_file() || directory.join("Cargo.toml").is_file()))
        .ok_or_else(|| {
            Problem::new(ProblemKind::NoWorkspace(from.clone())).hint(
                "change into a workspace, name one with `-C DIR`, or write a `buildnet.yaml` (`buildnet init` proposes one)",
            )
        })
}

/// Whether a manifest in the directory declares a workspace.
fn is_workspace_root(directory: &Path) -> bool {
    let contains = |name: &str, needle: &str| {
        config::read(&directory.join(name), name).ok().flatten().is_some_and(|source| source.text.contains(needle))
    };
    directory.join("pnpm-workspace.yaml").is_file()
        || contains("package.json", "\"workspaces\"")
        || contains("Cargo.toml", "[workspace")
}

/// What discovery reads and notes on its way.
pub(crate) struct Discovery<'a> {
    pub(crate) root: &'a Path,
    pub(crate) packages: Vec<Package>,
    pub(crate) config_files: Vec<PathBuf>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Discovery<'a> {
    pub(crate) fn new(root: &'a Path) -> Self {
        Self { root, packages: Vec::new(), config_files: Vec::new(), problems: Vec::new(), warnings: Vec::new() }
    }

    /// Reads a file, relative to the root, and notes that it matters whether or not it is there.
    pub(crate) fn read(&mut self, path: &str) -> Option<Arc<SourceText>> {
        let absolute = self.root.join(path);
        let result = config::read(&absolute, path);
        self.config_files.push(absolute);
        result.unwrap_or_else(|problem| {
            self.problems.push(problem);
            None
        })
    }

    /// The entries of a directory, relative to the root, sorted by name, and whether each is a directory (symlinks followed).
    /// Names that are not UTF-8 are left out: no manifest has such a name.
    pub(crate) fn list(&mut self, directory: &str) -> Vec<(String, bool)> {
        let absolute = self.root.join(directory);
        let mut entries = Vec::new();
        match std::fs::read_dir(&absolute) {
            Ok(listing) => {
                for entry in listing.flatten() {
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    let is_directory = match entry.file_type() {
                        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
                        Ok(kind) => kind.is_dir(),
                        Err(_) => false,
                    };
                    entries.push((name, is_directory));
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
            Err(error) => {
                let path = if directory.is_empty() { "." } else { directory }.to_owned();
                let kind = ProblemKind::Unreadable { path, reason: error.to_string() };
                self.problems.push(Problem::new(kind).hint("make it readable for you"));
            }
        }
        self.config_files.push(absolute);
        entries.sort_unstable();
        entries
    }
}
