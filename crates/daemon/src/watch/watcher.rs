//! One inotify queue over many directories.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::changes::Changes;
use super::error::WatchError;

/// What is told of a directory: entries that come, go, or change, and the directory's own end. Reading is no change.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::DONT_FOLLOW);

/// Bytes read from the queue at once; an event takes 16 bytes and its name.
const BUFFER: usize = 64 << 10;

/// Watches directories, not recursively, and tells which of their entries changed.
#[derive(Debug)]
pub struct Watcher {
    queue: OwnedFd,
    by_path: HashMap<PathBuf, i32>,
    by_watch: HashMap<i32, PathBuf>,
    /// Directories whose watch began after the last look: what changed in them before it is not known.
    fresh: Changes,
    /// Directories that should be watched and do not exist.
    missing: Vec<PathBuf>,
}

/// Whether the directories that matter are all watched.
#[derive(Debug)]
pub enum Coverage {
    /// Changes to all of them are told.
    Complete,
    /// Some are not; changes there go unseen, so that files must be looked at.
    Partial(WatchError),
}

impl Watcher {
    /// Opens a queue.
    pub fn new() -> Result<Self, WatchError> {
        let queue =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| WatchError::Open(e.into()))?;
        Ok(Self {
            queue,
            by_path: HashMap::new(),
            by_watch: HashMap::new(),
            fresh: Changes::default(),
            missing: Vec::new(),
        })
    }

    /// How many directories are watched.
    pub fn watched(&self) -> usize {
        self.by_path.len()
    }

    /// Watches exactly these directories from now on. Of one that does not exist the nearest directory above it is watched instead, and
    /// it is told as changed when something on the way to it comes.
    pub fn set<'a>(&mut self, directories: impl IntoIterator<Item = &'a Path>) -> Coverage {
        let mut wanted: HashSet<&Path> = directories.into_iter().collect();
        self.missing.clear();
        let absent: Vec<&Path> = wanted.iter().copied().filter(|directory| !directory.is_dir()).collect();
        for directory in absent {
            wanted.remove(directory);
            wanted.extend(directory.ancestors().skip(1).find(|above| above.is_dir()));
            self.missing.push(directory.to_owned());
        }
        let gone: Vec<_> = self.by_path.keys().filter(|path| !wanted.contains(path.as_path())).cloned().collect();
        for path in gone {
            self.remove(&path);
        }
        self.begin(&wanted)
    }

    /// Watches these directories, too, as far as they exist.
    pub fn more<'a>(&mut self, directories: impl IntoIterator<Item = &'a Path>) -> Coverage {
        self.begin(&directories.into_iter().collect())
    }

    fn begin(&mut self, wanted: &HashSet<&Path>) -> Coverage {
        for directory in wanted {
            if self.by_path.contains_key(*directory) {
                continue;
            }
            match self.add(directory) {
                Ok(()) => {}
                // It went between the look above and here; what is above it may not be watched.
                Err(Errno::NOENT | Errno::NOTDIR) => self.fresh.set_everything(),
                Err(Errno::NOSPC) => {
                    return Coverage::Partial(WatchError::NoWatches { watched: self.watched(), wanted: wanted.len() });
                }
                Err(error) => {
                    let path = directory.to_path_buf();
                    return Coverage::Partial(WatchError::Directory { path, source: error.into() });
                }
            }
        }
        Coverage::Complete
    }

    fn add(&mut self, directory: &Path) -> Result<(), Errno> {
        let watch = inotify::add_watch(&self.queue, directory, EVENTS)?;
        // The kernel hands out one watch per inode: a directory that was renamed keeps its watch under the new name.
        if let Some(before) = self.by_watch.insert(watch, directory.to_owned()) {
            self.by_path.remove(&before);
        }
        self.by_path.insert(directory.to_owned(), watch);
        self.fresh.add(directory.to_owned());
        Ok(())
    }

    /// Forgets a directory that is no longer where it was, and everything below it, which went with it.
    fn lose(&mut self, directory: &Path) {
        let gone: Vec<_> = self.by_path.keys().filter(|path| path.starts_with(directory)).cloned().collect();
        for path in gone {
            self.remove(&path);
        }
    }

    fn remove(&mut self, directory: &Path) {
        if let Some(watch) = self.by_path.remove(directory) {
            self.by_watch.remove(&watch);
            // Fails when the directory is gone, and the watch with it.
            let _ = inotify::remove_watch(&self.queue, watch);
        }
    }

    /// Everything that changed since the last call, without waiting. A directory whose watch began since then is named itself: whatever
    /// lies directly in it may have changed before.
    pub fn drain(&mut self) -> Result<Changes, WatchError> {
        let mut changes = std::mem::take(&mut self.fresh);
        let mut lost = Vec::new();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(WatchError::Read(error.into())),
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.set_everything();
                continue;
            }
            // Events of a watch that was removed may still be in the queue.
            let Some(directory) = self.by_watch.get(&event.wd()) else { continue };
            let path = match event.file_name() {
                Some(name) => directory.join(OsStr::from_bytes(name.to_bytes())),
                None => directory.clone(),
            };
            let moved = flags.contains(ReadFlags::MOVED_FROM | ReadFlags::ISDIR);
            if moved || flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
                lost.push(path.clone());
            }
            changes.add(path);
        }
        // What moved away is watched under a name that is no longer its own.
        for directory in lost {
            self.lose(&directory);
        }
        let came = |missing: &&PathBuf| missing.ancestors().any(|above| changes.paths.contains(above));
        let came: Vec<_> = self.missing.iter().filter(came).cloned().collect();
        for path in came {
            changes.add(path);
        }
        Ok(changes)
    }
}

impl AsFd for Watcher {
    /// Readable when something changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watch(directories: &[&Path]) -> Watcher {
        let mut watcher = Watcher::new().unwrap();
        assert!(matches!(watcher.set(directories.iter().copied()), Coverage::Complete));
        let fresh = watcher.drain().unwrap();
        assert!(
            watcher.by_path.keys().all(|path| fresh.paths.contains(path)),
            "directories watched since now are named"
        );
        watcher
    }

    #[test]
    fn every_kind_of_change_is_told_before_the_next_look() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("old"), "x").unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        let mut watcher = watch(&[root]);
        assert!(watcher.drain().unwrap().is_empty());
        let look = |watcher: &mut Watcher| -> Vec<PathBuf> { watcher.drain().unwrap().paths.into_iter().collect() };

        fs::write(root.join("old"), "y").unwrap();
        assert_eq!(look(&mut watcher), [root.join("old")]);
        fs::rename(root.join("old"), root.join("new")).unwrap();
        assert_eq!(look(&mut watcher), [root.join("new"), root.join("old")]);
        fs::remove_file(root.join("new")).unwrap();
        assert_eq!(look(&mut watcher), [root.join("new")]);
        let _ = fs::read_dir(root).unwrap().count();
        assert!(look(&mut watcher).is_empty(), "reading is no change");
        fs::write(root.join("sub/deep"), "").unwrap();
        assert!(look(&mut watcher).is_empty(), "watches are not recursive");
    }

    #[test]
    fn more_directories_are_watched_beside_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        let mut watcher = watch(&[&one]);
        assert!(matches!(watcher.more([two.as_path()]), Coverage::Complete));
        assert_eq!(watcher.drain().unwrap().paths, [two.clone()].into(), "anything may have changed before");
        fs::write(one.join("a"), "").unwrap();
        fs::write(two.join("b"), "").unwrap();
        assert_eq!(watcher.drain().unwrap().paths, [one.join("a"), two.join("b")].into());
    }

    #[test]
    fn a_directory_that_was_replaced_is_watched_again() {
        let directory = tempfile::tempdir().unwrap();
        let sub = directory.path().join("sub");
        fs::create_dir(&sub).unwrap();
        let mut watcher = watch(&[directory.path(), &sub]);
        fs::rename(&sub, directory.path().join("aside")).unwrap();
        fs::create_dir(&sub).unwrap();
        assert!(watcher.drain().unwrap().paths.contains(&sub));
        assert_eq!(watcher.watched(), 1, "the moved directory is no longer taken for the old one");
        watcher.set([directory.path(), &sub]);
        fs::write(sub.join("file"), "").unwrap();
        assert!(watcher.drain().unwrap().paths.contains(&sub.join("file")));
    }

    #[test]
    fn what_moves_takes_the_watches_below_it_along() {
        let directory = tempfile::tempdir().unwrap();
        let (above, deep) = (directory.path().join("a"), directory.path().join("a/b/c"));
        fs::create_dir_all(&deep).unwrap();
        let mut watcher = watch(&[directory.path(), &deep]);
        fs::rename(&above, directory.path().join("aside")).unwrap();
        fs::create_dir_all(&deep).unwrap();
        assert!(watcher.drain().unwrap().paths.contains(&above));
        watcher.set([directory.path(), &deep]);
        watcher.drain().unwrap();
        fs::write(deep.join("file"), "").unwrap();
        assert_eq!(watcher.drain().unwrap().paths, [deep.join("file")].into());
    }

    #[test]
    fn a_directory_that_comes_later_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        let mut watcher = watch(&[&deep]);
        assert_eq!(watcher.watched(), 1, "the directory above");
        fs::write(directory.path().join("other"), "").unwrap();
        assert!(!watcher.drain().unwrap().paths.contains(&deep));
        fs::create_dir_all(&deep).unwrap();
        assert!(watcher.drain().unwrap().paths.contains(&deep));
    }

    #[test]
    fn directories_no_longer_wanted_are_silent() {
        let directory = tempfile::tempdir().unwrap();
        let mut watcher = watch(&[directory.path()]);
        watcher.set([]);
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(watcher.drain().unwrap().is_empty());
        assert_eq!(watcher.watched(), 0);
    }
}
