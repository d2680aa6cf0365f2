//! The command's file system: what is prepared before the clone, and how the child assembles it.
//!
//! 1. *Capture*: every source becomes a detached mount, while the host's paths are still there.
//! 2. *Enter*: a new tmpfs becomes the root, and the host's root is gone.
//! 3. *Lay out*: directories are made and captured mounts attached. As the host is gone by then, no symbolic link in a mounted
//!    tree can lead a `mkdir` or a mount outside.
//! 4. *Seal*: the root becomes read-only; `/tmp` and `/dev/shm` are windows into it that stay writable.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libc::c_int;

use crate::error::SandboxError;
use crate::linux::sys::{self, Errno, NewFilesystem};
use crate::request::{Mount, MountKind, Request};

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;

/// Name, inside the new root, of the program of process 1 while it is being started.
const INIT_PATH: &CStr = c"/.init";

/// Everything the child needs to assemble the file system.
pub(crate) struct MountPlan {
    captures: Vec<Capture>,
    layout: Vec<Layout>,
    init_program: Vec<u8>,
    /// What is writable, as the command sees it, and whether it is a directory: for Landlock.
    pub(crate) writable: Vec<(CString, bool)>,
}

/// A mount to detach from the host.
struct Capture {
    what: CaptureKind,
    attributes: u64,
    /// For error messages.
    source: PathBuf,
    target: PathBuf,
}

enum CaptureKind {
    Bind(CString),
    Overlay { lower: CString, upper: CString, work: CString },
    Tmpfs { size: CString },
    Proc,
}

/// A step inside the new root.
enum Layout {
    Dir(CString, libc::mode_t),
    File(CString, Vec<u8>),
    Symlink {
        to: CString,
        at: CString,
    },
    /// Attaches the capture of this index.
    Attach(usize, CString),
    /// Makes a directory of the root a mount of its own, which stays writable when the root is sealed.
    Window(CString),
}

/// A step that failed: of the capture of this index, or of none.
pub(crate) struct Failed {
    pub(crate) capture: Option<usize>,
    pub(crate) errno: Errno,
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Failed { capture: None, errno }
    }
}

const PASSWD: &str =
    "root:x:0:0:root:/:/bin/sh\nbuild:x:1000:1000:build:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nbuild:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost buildnet\n::1 localhost\n";

impl MountPlan {
    /// Plans the file system of a request. Looks at the host's files, for which of them are directories or links.
    pub(crate) fn new(request: &Request) -> Result<Self, SandboxError> {
        let mut builder = Builder::default();
        builder.dir(Path::new("/dev"))?;
        for device in ["null", "zero", "full", "random", "urandom"] {
            let path = Path::new("/dev").join(device);
            builder.file(&path, "")?;
            builder.bind(&path, &path, NOSUID | NOEXEC)?;
            builder.plan.writable.push((c_path(&path)?, false));
        }
        for (at, to) in [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ] {
            builder.symlink(Path::new(to), Path::new(at))?;
        }
        builder.dir(Path::new("/proc"))?;
        builder.attach(CaptureKind::Proc, RDONLY | NOSUID | NODEV | NOEXEC, Path::new("proc"), Path::new("/proc"))?;
        for window in ["/tmp", "/dev/shm"] {
            let path = Path::new(window);
            builder.parents(path)?;
            builder.plan.layout.push(Layout::Dir(c_path(path)?, 0o1777));
            builder.plan.layout.push(Layout::Window(c_path(path)?));
            builder.made.insert(path.to_path_buf());
            builder.plan.writable.push((c_path(path)?, true));
        }
        for path in &request.host_dirs {
            builder.host(path)?;
        }
        let given = |path: &str| {
            let covers = |target: &PathBuf| Path::new(path).starts_with(target);
            request.host_dirs.iter().any(covers) || request.mounts.iter().any(|mount| covers(&mount.target))
        };
        for (path, content) in [("/etc/passwd", PASSWD), ("/etc/group", GROUP), ("/etc/hosts", HOSTS)] {
            if !given(path) {
                builder.parents(Path::new(path))?;
                builder.file(Path::new(path), content)?;
            }
        }
        for mount in &request.mounts {
            builder.mount(mount)?;
        }
        Ok(builder.plan)
    }

    /// Source and target of a capture, for an error message.
    pub(crate) fn describe(&self, capture: usize) -> Option<(PathBuf, PathBuf)> {
        self.captures.get(capture).map(|capture| (capture.source.clone(), capture.target.clone()))
    }

    /// Number of descriptors [`MountPlan::capture`] fills in.
    pub(crate) fn captures(&self) -> usize {
        self.captures.len()
    }

    /// Step 1, in the child. Async-signal-safe.
    pub(crate) fn capture(&self, mounts: &mut [c_int]) -> Result<(), Failed> {
        for (index, (capture, mount)) in self.captures.iter().zip(mounts).enumerate() {
            *mount = capture.detach().map_err(|errno| Failed { capture: Some(index), errno })?;
        }
        Ok(())
    }

    /// Step 2, in the child. Async-signal-safe.
    pub(crate) fn enter() -> Result<(), Errno> {
        let root = NewFilesystem::open(c"tmpfs")?;
        root.set(c"mode", c"0755")?;
        let root = root.mount(NOSUID | NODEV)?;
        // The place does not matter, as it vanishes with the host's root; these exist everywhere.
        sys::move_mount(root, c"/tmp").or_else(|_| sys::move_mount(root, c"/usr"))?;
        // SAFETY: no pointers but literals. `pivot_root(".", ".")` stacks the old root over the new one, where it is detached:
        // pivot_root(2), "pivot_root(".", ".")".
        unsafe {
            sys::check(libc::fchdir(root).into())?;
            sys::check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
            sys::check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into())?;
            sys::check(libc::chdir(c"/".as_ptr()).into())?;
        }
        sys::close(root);
        Ok(())
    }

    /// Step 3, in the child. Async-signal-safe.
    pub(crate) fn lay_out(&self, mounts: &[c_int]) -> Result<(), Failed> {
        for step in &self.layout {
            match step {
                Layout::Dir(path, mode) => sys::make_dir(path, *mode)?,
                Layout::File(path, content) => make_file(path, content)?,
                Layout::Symlink { to, at } => {
                    // SAFETY: both strings are NUL-terminated and outlive the call.
                    sys::check(unsafe { libc::symlink(to.as_ptr(), at.as_ptr()) }.into())?;
                }
                Layout::Window(path) => {
                    let mount = sys::open_tree_clone(path)?;
                    let attached = sys::move_mount(mount, path);
                    sys::close(mount);
                    attached?;
                }
                Layout::Attach(index, target) => {
                    let Some(mount) = mounts.get(*index) else {
                        continue;
                    };
                    let attached = sys::move_mount(*mount, target);
                    sys::close(*mount);
                    attached.map_err(|errno| Failed { capture: Some(*index), errno })?;
                }
            }
        }
        Ok(())
    }

    /// Step 4, in the child: returns a descriptor of the program of process 1, which no path leads to. Async-signal-safe.
    pub(crate) fn seal(&self) -> Result<c_int, Errno> {
        // Not readable: that keeps the kernel from letting the command trace or read the process.
        let file = sys::open(INIT_PATH, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o100)?;
        let written = sys::write_all(file, &self.init_program);
        sys::close(file);
        written?;
        let program = sys::open(INIT_PATH, libc::O_PATH, 0)?;
        // SAFETY: the path is a literal.
        sys::check(unsafe { libc::unlink(INIT_PATH.as_ptr()) }.into())?;
        let root = sys::open(c"/", libc::O_PATH, 0)?;
        let sealed = sys::set_mount_attributes_here(root, RDONLY);
        sys::close(root);
        sealed?;
        Ok(program)
    }
}

impl Capture {
    fn detach(&self) -> Result<c_int, Errno> {
        let mount = match &self.what {
            CaptureKind::Bind(source) => {
                let mount = sys::open_tree_clone(source)?;
                sys::set_mount_attributes(mount, self.attributes)?;
                mount
            }
            CaptureKind::Overlay { lower, upper, work } => {
                let new = NewFilesystem::open(c"overlay")?;
                for (key, dir) in [(c"lowerdir", lower), (c"upperdir", upper), (c"workdir", work)] {
                    set_directory(&new, key, dir)?;
                }
                // Whiteouts and opaque marks in `user.*` attributes, as `trusted.*` needs to be root.
                new.set_flag(c"userxattr")?;
                // Without it, the unmount at the end would flush the whole file system that `upper` is on.
                new.set_flag(c"volatile")?;
                new.mount(self.attributes)?
            }
            CaptureKind::Tmpfs { size } => {
                let new = NewFilesystem::open(c"tmpfs")?;
                new.set(c"size", size)?;
                new.set(c"mode", c"0755")?;
                new.mount(self.attributes)?
            }
            CaptureKind::Proc => NewFilesystem::open(c"proc")?.mount(self.attributes)?,
        };
        Ok(mount)
    }
}

/// Gives a directory to overlayfs by descriptor: a path could hold the `:`, `,` and `\` that its options treat specially, and
/// would show in the command's `/proc/self/mountinfo`.
fn set_directory(new: &NewFilesystem, key: &CStr, path: &CStr) -> Result<(), Errno> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let dir = sys::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let mut link = [0_u8; 32];
    link[..PREFIX.len()].copy_from_slice(PREFIX);
    let mut digits = [0_u8; 10];
    let mut rest = dir.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let number = &digits[at..];
    link[PREFIX.len()..PREFIX.len() + number.len()].copy_from_slice(number);
    let set = match CStr::from_bytes_until_nul(&link) {
        Ok(link) => new.set(key, link),
        Err(_) => Err(libc::ENAMETOOLONG),
    };
    // The directory is looked up when the parameter is set, or when the file system is created: the descriptor stays open until
    // the child executes another program.
    set
}

fn make_file(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    match sys::open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o644) {
        Ok(file) => {
            let written = sys::write_all(file, content);
            sys::close(file);
            written
        }
        Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

struct Builder {
    plan: MountPlan,
    /// Directories known to exist at that point.
    made: HashSet<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            plan: MountPlan {
                captures: Vec::new(),
                layout: Vec::new(),
                init_program: crate::linux::init::program(),
                writable: Vec::new(),
            },
            made: HashSet::from([PathBuf::from("/")]),
        }
    }
}

impl Builder {
    fn parents(&mut self, path: &Path) -> Result<(), SandboxError> {
        match path.parent() {
            Some(parent) => self.dir(parent),
            None => Ok(()),
        }
    }

    fn dir(&mut self, path: &Path) -> Result<(), SandboxError> {
        if self.made.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.plan.layout.push(Layout::Dir(c_path(path)?, 0o755));
        self.made.insert(path.to_path_buf());
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &str) -> Result<(), SandboxError> {
        self.plan.layout.push(Layout::File(c_path(path)?, content.as_bytes().to_vec()));
        Ok(())
    }

    fn symlink(&mut self, to: &Path, at: &Path) -> Result<(), SandboxError> {
        self.plan.layout.push(Layout::Symlink { to: c_path(to)?, at: c_path(at)? });
        Ok(())
    }

    fn attach(&mut self, what: CaptureKind, attributes: u64, source: &Path, target: &Path) -> Result<(), SandboxError> {
        self.plan.layout.push(Layout::Attach(self.plan.captures.len(), c_path(target)?));
        self.plan.captures.push(Capture {
            what,
            attributes,
            source: source.to_path_buf(),
            target: target.to_path_buf(),
        });
        Ok(())
    }

    fn bind(&mut self, source: &Path, target: &Path, attributes: u64) -> Result<(), SandboxError> {
        self.attach(CaptureKind::Bind(c_path(source)?), attributes, source, target)
    }

    /// A part of the host at its own path, read-only.
    fn host(&mut self, path: &Path) -> Result<(), SandboxError> {
        let Ok(metadata) = path.symlink_metadata() else {
            return Ok(());
        };
        if self.made.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        if metadata.is_symlink() {
            if let Ok(to) = path.read_link() {
                self.symlink(&to, path)?;
            }
        } else {
            self.target(path, metadata.is_dir())?;
            self.bind(path, path, RDONLY | NOSUID | NODEV)?;
        }
        self.made.insert(path.to_path_buf());
        Ok(())
    }

    fn target(&mut self, path: &Path, is_dir: bool) -> Result<(), SandboxError> {
        if is_dir {
            self.dir(path)
        } else {
            self.parents(path)?;
            self.file(path, "")
        }
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), SandboxError> {
        let Mount { source, target, kind } = mount;
        let is_dir = match kind {
            MountKind::ReadOnly | MountKind::ReadWrite => {
                let metadata = source.metadata().map_err(|cause| SandboxError::Mount {
                    source_path: source.clone(),
                    target: target.clone(),
                    cause,
                })?;
                metadata.is_dir()
            }
            MountKind::Overlay { .. } | MountKind::Tmpfs { .. } => true,
        };
        self.target(target, is_dir)?;
        match kind {
            MountKind::ReadOnly => self.bind(source, target, RDONLY | NOSUID | NODEV)?,
            MountKind::ReadWrite => self.bind(source, target, NOSUID | NODEV)?,
            MountKind::Overlay { upper, work } => {
                let what = CaptureKind::Overlay { lower: c_path(source)?, upper: c_path(upper)?, work: c_path(work)? };
                self.attach(what, NOSUID | NODEV, source, target)?;
            }
            MountKind::Tmpfs { max_bytes } => {
                // Zero would mean no bound.
                let size = c_string(OsStr::new(&(*max_bytes).max(1).to_string()))?;
                self.attach(CaptureKind::Tmpfs { size }, NOSUID | NODEV, Path::new("tmpfs"), target)?;
            }
        }
        // What was made beneath is covered now; what lies beneath the mount is not known.
        self.made.retain(|made| !made.starts_with(target) || made == target);
        if !matches!(kind, MountKind::ReadOnly) {
            self.plan.writable.push((c_path(target)?, is_dir));
        }
        Ok(())
    }
}

/// A path for the kernel.
pub(crate) fn c_path(path: &Path) -> Result<CString, SandboxError> {
    c_string(path.as_os_str())
}

/// A string for the kernel.
pub(crate) fn c_string(text: &OsStr) -> Result<CString, SandboxError> {
    CString::new(text.as_bytes())
        .map_err(|_| SandboxError::InvalidRequest { reason: format!("`{}` contains a NUL byte", text.display()) })
}
