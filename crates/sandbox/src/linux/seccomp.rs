//! The system calls a command is refused, as a classic BPF program.
//!
//! What is not listed is allowed: builds run any program. Listed is what would undo the sandbox or reaches deep into the kernel
//! without a use in builds. The kernel caches which calls a filter always allows, so that the list's length costs little.

use std::sync::OnceLock;

use libc::{c_int, c_long, sock_filter};

use crate::linux::sys::{self, Errno};

// Instructions (linux/bpf_common.h) and return values (linux/seccomp.h).
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
#[cfg(target_arch = "x86_64")]
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const ERRNO: u32 = 0x0005_0000;

// Offsets in struct seccomp_data; the low half of an argument on a little-endian machine.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// All `CLONE_NEW*` flags that share no bits with an exit signal.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// `CLONE_NEWTIME`, for `unshare` only: in `clone` the bit is part of the exit signal.
const NEW_TIME: u32 = 0x80;

/// Refused as not permitted.
const DENIED: &[c_long] = &[
    // Changing what is mounted.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Programs in the kernel, and its own state.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_userfaultfd,
    libc::SYS_pidfd_getfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    // Keys are not in any namespace but the user's.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Refused as not there, so that programs fall back: `clone3` because its flags lie in memory, where a filter cannot look.
const ABSENT: &[c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Socket families that commands may use: UNIX, IPv4, IPv6, netlink. Others (vsock) are not all confined by network namespaces.
const FAMILIES: &[c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Calls that look a path up, which tracing is told of.
pub(crate) const LOOKUPS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_chdir,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_statx,
];

/// The filter, with or without notification of lookups.
pub(crate) fn filter(notify_lookups: bool) -> &'static [sock_filter] {
    static PLAIN: OnceLock<Vec<sock_filter>> = OnceLock::new();
    static NOTIFYING: OnceLock<Vec<sock_filter>> = OnceLock::new();
    let cell = if notify_lookups { &NOTIFYING } else { &PLAIN };
    cell.get_or_init(|| build(notify_lookups))
}

fn build(notify_lookups: bool) -> Vec<sock_filter> {
    let refuse = |errno: c_int| statement(RETURN, ERRNO | errno.unsigned_abs());
    let mut program = vec![
        statement(LOAD, ARCH),
        // Calls of another architecture (32-bit programs) have other numbers, which this list does not know.
        jump(JUMP_EQUAL, AUDIT_ARCH, 1, 0),
        refuse(libc::ENOSYS),
        statement(LOAD, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    {
        const X32_BIT: u32 = 0x4000_0000;
        program.extend([jump(JUMP_AT_LEAST, X32_BIT, 0, 1), refuse(libc::ENOSYS)]);
    }
    for call in DENIED {
        program.extend([jump(JUMP_EQUAL, number(*call), 0, 1), refuse(libc::EPERM)]);
    }
    for call in ABSENT {
        program.extend([jump(JUMP_EQUAL, number(*call), 0, 1), refuse(libc::ENOSYS)]);
    }
    for (call, flags) in [(libc::SYS_clone, NEW_NAMESPACES), (libc::SYS_unshare, NEW_NAMESPACES | NEW_TIME)] {
        program.extend([
            jump(JUMP_EQUAL, number(call), 0, 4),
            statement(LOAD, argument(0)),
            jump(JUMP_ANY_BIT, flags, 0, 1),
            refuse(libc::EPERM),
            statement(RETURN, ALLOW),
        ]);
    }
    // Typing into a terminal that the command may have been given.
    program.extend([
        jump(JUMP_EQUAL, number(libc::SYS_ioctl), 0, 5),
        statement(LOAD, argument(1)),
        jump(JUMP_EQUAL, libc::TIOCSTI as u32, 1, 0),
        jump(JUMP_EQUAL, libc::TIOCLINUX as u32, 0, 1),
        refuse(libc::EPERM),
        statement(RETURN, ALLOW),
    ]);
    let families = FAMILIES.len() as u8;
    program.extend([jump(JUMP_EQUAL, number(libc::SYS_socket), 0, families + 3), statement(LOAD, argument(0))]);
    for (index, family) in FAMILIES.iter().enumerate() {
        program.push(jump(JUMP_EQUAL, family.unsigned_abs(), families - index as u8, 0));
    }
    program.extend([refuse(libc::EAFNOSUPPORT), statement(RETURN, ALLOW)]);
    if notify_lookups {
        for call in LOOKUPS {
            program.extend([jump(JUMP_EQUAL, number(*call), 0, 1), statement(RETURN, NOTIFY)]);
        }
    }
    program.push(statement(RETURN, ALLOW));
    program
}

fn number(call: c_long) -> u32 {
    call as u32
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Installs a filter in the calling process; with `listen` returns the descriptor that notifications come from.
/// Async-signal-safe. Needs no-new-privileges.
pub(crate) fn install(filter: &[sock_filter], listen: bool) -> Result<c_int, Errno> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: `program` describes a live slice, which the kernel only reads.
        sys::check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) })
    };
    if !listen {
        return install(0);
    }
    // Since Linux 5.19 a signal need not interrupt a call that is being looked at, which would then be repeated.
    match install(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(libc::EINVAL) => install(NEW_LISTENER),
        result => result,
    }
}
