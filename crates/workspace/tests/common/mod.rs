//! Workspaces made of texts.

use std::path::Path;

use buildnet_workspace::{Overrides, Workspace, WorkspaceErrors};
use tempfile::TempDir;

/// A directory with these files; a path that ends in `/` is a directory.
pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directories work");
    for (path, content) in files {
        write(directory.path(), path, content);
    }
    directory
}

/// Writes one file with its directories.
pub(crate) fn write(root: &Path, path: &str, content: &str) {
    let absolute = root.join(path);
    if path.ends_with('/') {
        std::fs::create_dir_all(absolute).expect("temporary directory is writable");
        return;
    }
    std::fs::create_dir_all(absolute.parent().expect("files have a directory"))
        .expect("temporary directory is writable");
    std::fs::write(absolute, content).expect("temporary directory is writable");
}

/// Loads with nothing around.
pub(crate) fn load(root: &Path) -> Result<Workspace, WorkspaceErrors> {
    Workspace::load(root, None, &Overrides::default())
}
