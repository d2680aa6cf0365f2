//! What lookups mean: which file it was, and whether it was there.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};

use crate::exit::MAX_TRACED;
use crate::linux::notify::Traced;

/// What a call wants with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Use {
    /// Whether, or what, it is.
    Look,
    /// What is in it.
    Read,
    /// To make or fill it.
    Write,
}

/// One lookup by a suspended thread.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// The thread.
    pub(crate) pid: u32,
    /// Directory descriptor, or `AT_FDCWD`.
    pub(crate) dir: i32,
    /// As given to the call.
    pub(crate) path: Vec<u8>,
    pub(crate) purpose: Use,
}

/// Symbolic links followed by hand, at most.
const MAX_LINKS: usize = 16;

/// Lookups remembered so as not to look again, at most.
const MAX_SEEN: usize = 100_000;

/// Collects what the lookups found.
pub(crate) struct Recorder {
    under: PathBuf,
    record_opened: bool,
    /// The root of the command's file system.
    root: Option<OwnedFd>,
    seen: HashSet<(PathBuf, Use)>,
    traced: Traced,
}

impl Recorder {
    /// Records paths beneath `under`; with `record_opened` also those that exist and are read.
    pub(crate) fn new(under: PathBuf, record_opened: bool) -> Self {
        Recorder { under, record_opened, root: None, seen: HashSet::new(), traced: Traced::default() }
    }

    /// What was collected.
    pub(crate) fn finish(self) -> Traced {
        self.traced
    }

    /// Looks at one lookup. What cannot be seen any more (the thread was killed) is left out.
    pub(crate) fn record(&mut self, lookup: &Lookup) {
        let Some(path) = absolute(lookup) else { return };
        // A link from elsewhere into the traced directory is not followed; one from within is.
        if !path.starts_with(&self.under) || self.seen.len() >= MAX_SEEN {
            return;
        }
        if !self.seen.insert((path.clone(), lookup.purpose)) {
            return;
        }
        if self.root.is_none() {
            let root = format!("/proc/{}/root", lookup.pid);
            self.root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
        }
        let Some(root) = &self.root else { return };
        match open_inside(root, &path) {
            Ok(file) => {
                if self.record_opened
                    && lookup.purpose == Use::Read
                    && let Some(path) = path_of(&file)
                {
                    keep(&mut self.traced.opened, path, &self.under);
                }
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                let path = missing(root, path);
                keep(&mut self.traced.sought, path, &self.under);
            }
            Err(_) => {}
        }
    }
}

fn keep(set: &mut std::collections::BTreeSet<PathBuf>, path: PathBuf, under: &Path) {
    if set.len() < MAX_TRACED && path != under && path.starts_with(under) {
        set.insert(path);
    }
}

/// The path of a lookup from the command's root, without `.`; `..` is left to the kernel.
fn absolute(lookup: &Lookup) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(&lookup.path));
    if path.as_os_str().is_empty() {
        // The descriptor itself (AT_EMPTY_PATH).
        return None;
    }
    let full = if path.is_absolute() {
        path.to_path_buf()
    } else {
        let base = if lookup.dir == libc::AT_FDCWD {
            format!("/proc/{}/cwd", lookup.pid)
        } else {
            format!("/proc/{}/fd/{}", lookup.pid, lookup.dir)
        };
        fs::read_link(base).ok()?.join(path)
    };
    // `components` drops `.` and doubled slashes.
    Some(full.components().collect())
}

/// Opens a path as the command would resolve it.
fn open_inside(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Where a descriptor leads, as the command sees it: its mounts are in no namespace of ours, so that the kernel names the path
/// from their root.
fn path_of(file: &OwnedFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// The file that a lookup in vain would have needed: with the links on the way resolved.
fn missing(root: &OwnedFd, path: PathBuf) -> PathBuf {
    let mut path = path;
    for _ in 0..MAX_LINKS {
        let Some((parent, rest)) = deepest_existing(root, &path) else {
            return path;
        };
        let mut parts = rest.components();
        let Some(name) = parts.next() else { return path };
        let at = path_of(&parent).unwrap_or_else(|| PathBuf::from("/"));
        // A link that leads nowhere is there itself; what it points to is not.
        match readlinkat(&parent, name.as_os_str(), Vec::new()) {
            Ok(target) => {
                let target = PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()));
                path = normalise(&at.join(target).join(parts.as_path()));
            }
            Err(_) => return normalise(&at.join(rest)),
        }
    }
    path
}

/// The longest part of the path that exists, opened, and the rest.
fn deepest_existing(root: &OwnedFd, path: &Path) -> Option<(OwnedFd, PathBuf)> {
    path.ancestors().skip(1).find_map(|ancestor| {
        let file = open_inside(root, ancestor).ok()?;
        Some((file, path.strip_prefix(ancestor).ok()?.to_path_buf()))
    })
}

/// Removes `.` and `..` where nothing exists that could make `..` mean anything else.
fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}
