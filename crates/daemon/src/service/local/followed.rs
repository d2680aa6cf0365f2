//! What a watcher knows of a workspace between two builds.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use buildnet_digest::Diagnostic as _;
use buildnet_engine::build::Changes;

use crate::watch::{Coverage, Watcher};

/// The directories of one workspace, followed as far as the kernel allows.
#[derive(Debug, Default)]
pub(super) struct Followed {
    watcher: Option<Watcher>,
    /// Whether all directories that matter are watched.
    complete: bool,
    /// What was read from the queue and not told to a build yet.
    pending: crate::watch::Changes,
    /// The files and directories that the configuration was read from, as far as they are watched.
    configuration: HashSet<PathBuf>,
    /// The directories that they lie in.
    configuration_in: HashSet<PathBuf>,
    /// Whether none of these changed since they were looked at.
    configuration_is_same: bool,
    /// What kept them from it; told once.
    trouble: Option<(String, Option<String>)>,
    told: bool,
}

impl Followed {
    /// How many directories are watched.
    pub(super) fn watched(&self) -> usize {
        self.watcher.as_ref().map_or(0, Watcher::watched)
    }

    /// What may have changed in the workspace since the last call. Every change that was finished before this call is in it.
    pub(super) fn changes(&mut self, root: &Path) -> Changes {
        self.drain();
        let changes = std::mem::take(&mut self.pending);
        if self.watcher.is_none() || !self.complete || changes.everything {
            return Changes::Unknown;
        }
        let mut directories = HashSet::new();
        for path in &changes.paths {
            let Ok(path) = path.strip_prefix(root) else { continue };
            directories.insert(path.to_owned());
            if let Some(parent) = path.parent() {
                directories.insert(parent.to_owned());
            }
        }
        Changes::Directories(directories)
    }

    /// Reads what is in the queue.
    fn drain(&mut self) {
        match self.watcher.as_mut().map(Watcher::drain) {
            Some(Ok(changes)) => {
                // A directory is named itself when its watch began, or when it is gone.
                let concerned = |path: &PathBuf| {
                    self.configuration.contains(path)
                        || self.configuration_in.contains(path)
                        || path.parent().is_some_and(|parent| self.configuration.contains(parent))
                };
                if changes.everything || changes.paths.iter().any(concerned) {
                    self.configuration_is_same = false;
                }
                self.pending.merge(changes);
            }
            Some(Err(error)) => {
                self.trouble = Some((error.to_string(), error.hint()));
                self.watcher = None;
            }
            None => {}
        }
    }

    /// Says which files of the configuration may differ from what they were when this was asked last: all, or those that are not watched.
    pub(super) fn doubtful_configuration(&mut self) -> Doubtful {
        self.drain();
        let same = std::mem::replace(&mut self.configuration_is_same, true);
        if same && self.complete && self.watcher.is_some() {
            Doubtful::AllBut(self.configuration.clone())
        } else {
            Doubtful::All
        }
    }

    /// Whether something is waiting for the next build that `matters`.
    pub(super) fn is_dirty(&mut self, matters: impl Fn(&Path) -> bool) -> bool {
        self.drain();
        self.pending.everything || self.pending.paths.iter().any(|path| matters(path))
    }

    /// A descriptor that is readable when something changed; none where nothing is followed.
    pub(super) fn descriptor(&self) -> Option<OwnedFd> {
        self.watcher.as_ref().and_then(|watcher| rustix::io::dup(watcher).ok())
    }

    /// Follows exactly these directories of the workspace from now on, and those that the configuration lies in.
    pub(super) fn follow(&mut self, root: &Path, directories: &[PathBuf], configuration: &[PathBuf]) {
        if self.watcher.is_none() && self.trouble.is_none() {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.trouble = Some((error.to_string(), error.hint())),
            }
        }
        let Some(watcher) = &mut self.watcher else { return };
        let mut absolute: HashSet<PathBuf> = directories.iter().map(|directory| root.join(directory)).collect();
        self.configuration.clear();
        self.configuration_in.clear();
        for file in configuration.iter().filter(|file| file.starts_with(root)) {
            // What lies in a directory that does not exist cannot be watched yet: it stays to be looked at.
            let Some(parent) = file.parent().filter(|parent| parent.is_dir()) else { continue };
            absolute.extend([file.clone(), parent.to_owned()]);
            self.configuration_in.insert(parent.to_owned());
            self.configuration.insert(file.clone());
        }
        match watcher.set(absolute.iter().map(PathBuf::as_path)) {
            Coverage::Complete => self.complete = true,
            Coverage::Partial(error) => {
                self.complete = false;
                self.trouble = Some((error.to_string(), error.hint()));
            }
        }
    }

    /// What keeps the file system from being followed, with what to do; once.
    pub(super) fn take_trouble(&mut self) -> Option<(String, Option<String>)> {
        if self.told {
            return None;
        }
        self.trouble.clone().inspect(|_| self.told = true)
    }
}

/// Which files of the configuration must be looked at.
#[derive(Debug)]
pub(super) enum Doubtful {
    /// All of them.
    All,
    /// All but these, which are watched and did not change.
    AllBut(HashSet<PathBuf>),
}

impl Doubtful {
    /// Whether a file must be looked at.
    pub(super) fn contains(&self, file: &Path) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(known) => !known.contains(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_told_by_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/src")).unwrap();
        let mut followed = Followed::default();
        assert!(matches!(followed.changes(root), Changes::Unknown), "nothing is followed yet");
        followed.follow(root, &["a".into(), "a/src".into()], &[]);
        let Changes::Directories(fresh) = followed.changes(root) else { panic!("watches are complete") };
        assert!(fresh.contains(Path::new("a/src")), "what was not watched until now may have changed");
        let Changes::Directories(none) = followed.changes(root) else { panic!("watches are complete") };
        assert!(none.is_empty());
        fs::write(root.join("a/src/x.c"), "").unwrap();
        let Changes::Directories(one) = followed.changes(root) else { panic!("watches are complete") };
        assert_eq!(one, ["a/src".into(), "a/src/x.c".into()].into());
    }

    #[test]
    fn configuration_is_looked_at_when_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("a")).unwrap();
        let files =
            [root.join("buildnet.yaml"), root.join("a/package.json"), root.join("b/package.json"), "/etc/x".into()];
        let mut followed = Followed::default();
        assert!(followed.doubtful_configuration().contains(&files[0]), "nothing is followed yet");
        followed.follow(root, &[], &files);
        assert!(followed.doubtful_configuration().contains(&files[0]), "it may have changed before it was watched");
        let doubtful = |followed: &mut Followed| {
            let doubtful = followed.doubtful_configuration();
            files.each_ref().map(|file| doubtful.contains(file))
        };
        assert_eq!(doubtful(&mut followed), [false, false, true, true], "what cannot be watched is always looked at");
        fs::write(root.join("a/unrelated"), "").unwrap();
        assert_eq!(doubtful(&mut followed), [false, false, true, true]);
        fs::write(root.join("buildnet.yaml"), "x").unwrap();
        assert_eq!(doubtful(&mut followed), [true; 4]);
        assert_eq!(doubtful(&mut followed), [false, false, true, true]);
        fs::remove_dir_all(root.join("a")).unwrap();
        assert_eq!(doubtful(&mut followed), [true; 4]);
    }
}
