//! System calls that neither `libc` nor `rustix` offers in a form usable between clone and exec.
//!
//! Every function is async-signal-safe: one system call, no allocation, no lock. Errors are `errno` values.

use std::ffi::CStr;

use libc::{c_int, c_long, c_uint, c_ulong};

/// An `errno` value.
pub(crate) type Errno = c_int;

/// The calling thread's `errno`.
pub(crate) fn errno() -> Errno {
    // SAFETY: the location is valid for the life of the thread; in a child that shares memory the thread it belongs to is suspended.
    unsafe { *libc::__errno_location() }
}

/// Turns the C convention (-1 and `errno`) into a result.
pub(crate) fn check(result: c_long) -> Result<c_int, Errno> {
    if result < 0 {
        Err(errno())
    } else {
        // Descriptors and pids fit an int; other results are not looked at.
        Ok(result as c_int)
    }
}

/// `open_tree(2)`: a detached copy of the mounts at `path`.
pub(crate) fn open_tree_clone(path: &CStr) -> Result<c_int, Errno> {
    const OPEN_TREE_CLONE: c_uint = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as c_uint | libc::AT_RECURSIVE as c_uint;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets attributes (`MOUNT_ATTR_*`) of a whole mount tree and cuts it off from propagation.
pub(crate) fn set_mount_attributes(mount: c_int, set: u64) -> Result<(), Errno> {
    mount_setattr(mount, libc::AT_RECURSIVE, set)
}

/// As [`set_mount_attributes`], for one mount without those in it.
pub(crate) fn set_mount_attributes_here(mount: c_int, set: u64) -> Result<(), Errno> {
    mount_setattr(mount, 0, set)
}

fn mount_setattr(mount: c_int, flags: c_int, set: u64) -> Result<(), Errno> {
    let attr = MountAttr { set, clear: 0, propagation: libc::MS_PRIVATE, userns: 0 };
    let flags = libc::AT_EMPTY_PATH | flags;
    // SAFETY: the path is a literal, `attr` is a live `struct mount_attr` of the size given.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount, c"".as_ptr(), flags, &raw const attr, size_of::<MountAttr>())
    })
    .map(drop)
}

/// Attaches a detached mount at `target`.
pub(crate) fn move_mount(mount: c_int, target: &CStr) -> Result<(), Errno> {
    const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount,
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// A file system being configured (`fsopen(2)`).
pub(crate) struct NewFilesystem(c_int);

impl NewFilesystem {
    /// Begins to configure a file system of a type.
    pub(crate) fn open(kind: &CStr) -> Result<Self, Errno> {
        const FSOPEN_CLOEXEC: c_uint = 1;
        // SAFETY: `kind` is a NUL-terminated string that outlives the call.
        check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) }).map(Self)
    }

    /// Sets a parameter to a string.
    pub(crate) fn set(&self, key: &CStr, value: &CStr) -> Result<(), Errno> {
        const FSCONFIG_SET_STRING: c_uint = 1;
        self.configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets a parameter that has no value.
    pub(crate) fn set_flag(&self, key: &CStr) -> Result<(), Errno> {
        const FSCONFIG_SET_FLAG: c_uint = 0;
        self.configure(FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Creates the file system and a detached mount of it with `attributes` (`MOUNT_ATTR_*`).
    pub(crate) fn mount(self, attributes: u64) -> Result<c_int, Errno> {
        const FSCONFIG_CMD_CREATE: c_uint = 6;
        const FSMOUNT_CLOEXEC: c_uint = 1;
        self.configure(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
        // SAFETY: no pointers.
        check(unsafe { libc::syscall(libc::SYS_fsmount, self.0, FSMOUNT_CLOEXEC, attributes as c_uint) })
    }

    fn configure(&self, command: c_uint, key: *const libc::c_char, value: *const libc::c_char) -> Result<(), Errno> {
        // SAFETY: key and value are null where the command takes none, otherwise NUL-terminated strings that outlive the call.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, self.0, command, key, value, 0) }).map(drop)
    }
}

impl Drop for NewFilesystem {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// Closes a descriptor. An error leaves nothing to be done.
pub(crate) fn close(fd: c_int) {
    // SAFETY: no pointers; the callers own the descriptor.
    unsafe { libc::close(fd) };
}

/// `openat(2)` relative to the working directory.
pub(crate) fn open(path: &CStr, flags: c_int, mode: c_uint) -> Result<c_int, Errno> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(c_long::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) }))
}

/// Writes a whole small buffer.
pub(crate) fn write_all(fd: c_int, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: pointer and length describe a live slice.
        let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(count) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(_) if errno() == libc::EINTR => {}
            Err(_) => return Err(errno()),
        }
    }
    Ok(())
}

/// Writes a buffer to a file that exists.
pub(crate) fn write_file(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let fd = open(path, libc::O_WRONLY, 0)?;
    let result = write_all(fd, bytes);
    close(fd);
    result
}

/// `mkdir(2)`; an existing directory is fine.
pub(crate) fn make_dir(path: &CStr, mode: libc::mode_t) -> Result<(), Errno> {
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    match check(c_long::from(unsafe { libc::mkdir(path.as_ptr(), mode) })) {
        Ok(_) | Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// `prctl(2)` with one argument.
pub(crate) fn prctl(option: c_int, argument: c_ulong) -> Result<c_int, Errno> {
    // SAFETY: the options used here take integers only.
    check(c_long::from(unsafe { libc::prctl(option, argument, 0, 0, 0) }))
}

/// `close_range(2)` from `first` on: closes, or with `CLOSE_RANGE_CLOEXEC` marks to be closed on exec.
pub(crate) fn close_range(first: c_uint, last: c_uint, flags: c_uint) -> Result<(), Errno> {
    // SAFETY: no pointers; called only in a child with a descriptor table of its own.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}
