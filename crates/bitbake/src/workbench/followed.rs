//! Where changes matter to a build directory that stays in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::persist::Touched;

/// Where changes matter.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Directories in which something that matters lies, or would lie.
    pub directories: BTreeSet<PathBuf>,
    /// Files and directories that matter, and everything above them.
    paths: HashSet<PathBuf>,
    /// Directories of which every name matters.
    listed: HashSet<PathBuf>,
    /// Directories, and under which other names paths go through them.
    aliases: HashMap<PathBuf, Vec<PathBuf>>,
    /// Whether that includes all that makes the programs that metadata asks say something else.
    pub(super) programs: bool,
    /// These programs.
    pub(super) commands: HashSet<String>,
}

/// What changed since the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nobody knows.
    Anything,
    /// These paths, or nothing.
    Only(Touched),
}

impl Changed {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::Only(Touched::nothing())
    }
}

impl Followed {
    /// From what was looked at, and the directories of which every name counts.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>, listed: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut followed = Self::default();
        followed.extend(paths, listed);
        followed
    }

    /// Follows more. Returns the directories that matter from now on.
    pub(super) fn extend(
        &mut self,
        paths: impl IntoIterator<Item = PathBuf>,
        listed: impl IntoIterator<Item = PathBuf>,
    ) -> Vec<PathBuf> {
        let mut new = Vec::new();
        let mut waiting: Vec<PathBuf> = paths.into_iter().collect();
        for directory in listed {
            if self.listed.insert(directory.clone()) {
                waiting.push(directory);
            }
        }
        while let Some(path) = waiting.pop() {
            // Links on the way, or the way itself, may change: all of it counts.
            for above in path.ancestors().filter(|above| above.is_absolute()) {
                if !self.paths.insert(above.to_owned()) {
                    break;
                }
                if let Ok(target) = std::fs::read_link(above) {
                    waiting.push(above.parent().unwrap_or(above).join(target));
                }
                if !above.is_dir() {
                    continue;
                }
                // What a link leads to tells of its changes under its own name.
                let real = above.canonicalize().unwrap_or_else(|_| above.to_owned());
                if real != above {
                    self.aliases.entry(real.clone()).or_default().push(above.to_owned());
                    waiting.push(real);
                } else if self.directories.insert(real.clone()) {
                    new.push(real);
                }
            }
        }
        new
    }

    /// Looks again at what matters of trees that changed: directories may have come or gone. Returns those to watch anew.
    pub(super) fn renew(&mut self, touched: &Touched) -> Vec<PathBuf> {
        let mut affected = HashSet::new();
        for tree in touched.trees() {
            affected.extend(self.paths.iter().filter(|path| path.starts_with(tree)).cloned());
            self.directories.retain(|directory| !directory.starts_with(tree));
        }
        self.paths.retain(|path| !affected.contains(path));
        self.extend(affected, [])
    }

    /// Whether a change of this path matters.
    pub fn matters(&self, path: &Path) -> bool {
        let Some(above) = path.parent() else { return true };
        self.paths.contains(path) || self.listed.contains(above) || self.aliases.contains_key(above)
    }

    /// What of changed paths matters, under all their names.
    pub fn relevant(&self, changed: &BTreeSet<PathBuf>) -> Changed {
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in changed.iter().filter(|path| self.matters(path)) {
            let others = path.parent().and_then(|above| self.aliases.get(above)).into_iter().flatten();
            paths.extend(others.filter_map(|other| Some(other.join(path.file_name()?))));
            paths.extend(self.aliases.get(path).into_iter().flatten().cloned());
            paths.push(path.clone());
        }
        let was_directory = |path: &Path| self.directories.contains(path);
        Touched::new(paths, was_directory).map_or(Changed::Anything, Changed::Only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_links_is_known_by_both_names() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().canonicalize().expect("a directory");
        std::fs::create_dir_all(root.join("real/deep")).expect("directories");
        std::os::unix::fs::symlink("real", root.join("link")).expect("a link");
        let mut followed = Followed::new([root.join("link/deep/file")], []);
        assert!(followed.directories.contains(&root.join("real/deep")) && followed.directories.contains(&root));
        assert!(followed.matters(&root.join("real/deep/file")));
        assert!(followed.matters(&root.join("link")), "it may lead elsewhere");
        assert!(!followed.matters(&root.join("other")));
        let Changed::Only(touched) = followed.relevant(&[root.join("real/deep/file")].into()) else {
            panic!("plain paths")
        };
        let paths: BTreeSet<&Path> = touched.paths().collect();
        let expected = [root.join("link/deep/file"), root.join("real/deep/file")];
        assert_eq!(paths, expected.iter().map(PathBuf::as_path).collect());
        assert!(followed.extend([root.join("real/deep/other")], []).is_empty(), "it is watched already");
    }

    #[test]
    fn directories_that_come_and_go_are_watched_while_they_are_there() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let root = place.path().canonicalize().expect("a directory");
        let mut followed = Followed::new([root.join("a/b/file")], []);
        assert!(!followed.directories.contains(&root.join("a")));
        let changed = |followed: &Followed, path: &str| match followed.relevant(&[root.join(path)].into()) {
            Changed::Only(touched) => touched,
            Changed::Anything => panic!("a plain path"),
        };
        std::fs::create_dir_all(root.join("a/b")).expect("directories");
        let touched = changed(&followed, "a");
        let mut new = followed.renew(&touched);
        new.sort_unstable();
        assert_eq!(new, [root.join("a"), root.join("a/b")]);
        std::fs::remove_dir_all(root.join("a")).expect("directories");
        let touched = changed(&followed, "a");
        assert!(followed.renew(&touched).is_empty());
        assert!(!followed.directories.contains(&root.join("a/b")));
        assert!(followed.matters(&root.join("a/b/file")) && followed.matters(&root.join("a")));
    }
}
