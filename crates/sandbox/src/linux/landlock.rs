//! Landlock: writes only beneath the writable mounts, whatever else the file system would permit.
//!
//! A second wall behind read-only mounts, with the right of a process of another user namespace to lift none of it. It also keeps
//! the command from signalling process 1 and, on a shared network, from the host's abstract sockets.

use std::ffi::CString;

use libc::{c_int, c_uint, c_ulong};

use crate::linux::sys::{self, Errno};

const WRITE_FILE: u64 = 1 << 1;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: c_int,
}

/// Version of Landlock's interface that the kernel has (Linux `Documentation/userspace-api/landlock.rst`).
pub(crate) fn version() -> Result<c_int, Errno> {
    const CREATE_RULESET_VERSION: c_uint = 1;
    // SAFETY: the null attribute with size 0 and this flag asks for the version.
    sys::check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    })
}

/// Restricts the calling process to writing beneath `writable` (path, and whether a directory). Async-signal-safe. Needs
/// no-new-privileges.
pub(crate) fn restrict_writes(writable: &[(CString, bool)], version: c_int) -> Result<(), Errno> {
    const RULE_PATH_BENEATH: c_uint = 1;
    let mut on_files = WRITE_FILE;
    let mut in_dirs = REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM;
    if version >= 2 {
        in_dirs |= REFER;
    }
    if version >= 3 {
        on_files |= TRUNCATE;
    }
    let attr = RulesetAttr {
        handled_access_fs: on_files | in_dirs | MAKE_CHAR | MAKE_BLOCK,
        handled_access_net: 0,
        scoped: if version >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } else { 0 },
    };
    // Kernels refuse attributes that are longer than they know, unless the rest is zero, which it is.
    // SAFETY: `attr` is a live structure of the size given.
    let ruleset = sys::check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<RulesetAttr>(), 0 as c_uint)
    })?;
    for (path, is_dir) in writable {
        let parent = sys::open(path, libc::O_PATH, 0)?;
        let rule =
            PathBeneathAttr { allowed_access: if *is_dir { on_files | in_dirs } else { on_files }, parent_fd: parent };
        // SAFETY: `rule` is a live structure of the type that the rule type demands.
        let added = sys::check(unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &raw const rule, 0 as c_uint)
        });
        sys::close(parent);
        added?;
    }
    // SAFETY: no pointers.
    let restricted = sys::check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0 as c_ulong) });
    sys::close(ruleset);
    restricted.map(drop)
}
