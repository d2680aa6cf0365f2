//! The child between clone and exec.
//!
//! It is born into new namespaces as process 1, prepares them, gives up its rights, and executes [`init`](crate::linux::init).
//!
//! It is created as `vfork` would: it shares the caller's memory, and the creating thread is suspended until it executes or exits.
//! A `fork` of a process with 100 MB resident copies its page tables, which takes some milliseconds and slows all its threads; this
//! takes none. The price: nothing here may allocate, lock, panic, or change memory that is not its own. Everything is in the [`Job`]
//! that the caller prepared; what fails is left in its [`Report`].

use std::convert::Infallible;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use libc::{c_int, c_void};

use crate::linux::init::STATUS_FD;
use crate::linux::job::Job;
use crate::linux::mounts::{Failed, MountPlan};
use crate::linux::sys::{self, Errno};
use crate::linux::{landlock, seccomp};

/// What the child was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    /// Nothing yet.
    Clone,
    Cgroup,
    Identity,
    Hostname,
    Loopback,
    Mounts,
    Root,
    Descriptors,
    Limits,
    WorkingDirectory,
    Privileges,
    Landlock,
    Seccomp,
    Listener,
    /// The last: reached with no error, it succeeded.
    Execute,
}

impl Stage {
    const ALL: [Stage; 15] = [
        Stage::Clone,
        Stage::Cgroup,
        Stage::Identity,
        Stage::Hostname,
        Stage::Loopback,
        Stage::Mounts,
        Stage::Root,
        Stage::Descriptors,
        Stage::Limits,
        Stage::WorkingDirectory,
        Stage::Privileges,
        Stage::Landlock,
        Stage::Seccomp,
        Stage::Listener,
        Stage::Execute,
    ];
}

/// How far the child came. Written by it, read by the caller once it runs again.
#[derive(Debug, Default)]
pub(crate) struct Report {
    stage: AtomicU32,
    /// Index of the mount, plus one.
    mount: AtomicU32,
    errno: AtomicI32,
}

impl Report {
    fn at(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::SeqCst);
    }

    fn failed(&self, errno: Errno) {
        self.errno.store(errno, Ordering::SeqCst);
    }

    /// Last stage reached, index of the mount that failed, and `errno` (0 if the child died instead of failing).
    pub(crate) fn read(&self) -> (Stage, Option<usize>, Errno) {
        let stage = self.stage.load(Ordering::SeqCst) as usize;
        let mount = self.mount.load(Ordering::SeqCst) as usize;
        (
            Stage::ALL.get(stage).copied().unwrap_or(Stage::Clone),
            mount.checked_sub(1),
            self.errno.load(Ordering::SeqCst),
        )
    }
}

/// Entry of the child.
pub(crate) extern "C" fn start(job: *mut c_void) -> c_int {
    // SAFETY: the caller passes a `Job` that it keeps, and does not touch, until this child executes or exits.
    let job = unsafe { &mut *job.cast::<Job>() };
    let Err(errno) = prepare(job);
    job.report.failed(errno);
    1
}

fn prepare(job: &mut Job) -> Result<Infallible, Errno> {
    let report = &job.report;
    // First of all: while this process has the caller's descriptors, programs that the caller is writing cannot be executed
    // (ETXTBSY), and pipes that it closes stay open.
    report.at(Stage::Descriptors);
    let socket = keep_descriptors(job)?;
    let report = &job.report;
    // Should the calling thread end, however it does, so does the sandbox.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;

    report.at(Stage::Cgroup);
    for cgroup in &job.cgroups {
        sys::write_all(*cgroup, b"0")?;
    }
    // Hides where in the host's hierarchy that was. Only a matter of what `/proc/self/cgroup` shows.
    // SAFETY: no pointers.
    let _ = unsafe { libc::unshare(libc::CLONE_NEWCGROUP) };

    report.at(Stage::Identity);
    sys::write_file(c"/proc/self/setgroups", b"deny")?;
    sys::write_file(c"/proc/self/gid_map", &job.gid_map)?;
    sys::write_file(c"/proc/self/uid_map", &job.uid_map)?;

    report.at(Stage::Hostname);
    let name = b"buildnet";
    // SAFETY: pointer and length describe the literal.
    sys::check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into())?;

    report.at(Stage::Loopback);
    if job.loopback {
        loopback_up()?;
    }

    // Modes below are meant as they stand.
    // SAFETY: no pointers; without CLONE_FS the mask is this process's own.
    unsafe { libc::umask(0) };
    report.at(Stage::Mounts);
    let note = |failed: Failed| {
        let mount = failed.capture.map_or(0, |index| index as u32 + 1);
        report.mount.store(mount, Ordering::SeqCst);
        failed.errno
    };
    job.mounts.capture(&mut job.captured).map_err(note)?;
    report.at(Stage::Root);
    MountPlan::enter()?;
    report.at(Stage::Mounts);
    job.mounts.lay_out(&job.captured).map_err(note)?;
    report.at(Stage::Root);
    let init = job.mounts.seal()?;

    report.at(Stage::WorkingDirectory);
    // SAFETY: a NUL-terminated string that outlives the call.
    sys::check(unsafe { libc::chdir(job.working_dir.as_ptr()) }.into())?;

    report.at(Stage::Limits);
    for (resource, limit) in &job.limits {
        // SAFETY: `limit` is a live `rlimit`.
        sys::check(unsafe { libc::setrlimit(*resource as _, limit) }.into())?;
    }
    // SAFETY: no pointers.
    unsafe { libc::umask(0o022) };
    reset_signals();

    report.at(Stage::Privileges);
    drop_capabilities()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;

    report.at(Stage::Landlock);
    let restricted = match job.landlock {
        Ok(version) => landlock::restrict_writes(&job.mounts.writable, version),
        Err(errno) => Err(errno),
    };
    if !job.tolerant {
        restricted?;
    }

    sys::close_range(STATUS_FD as u32 + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
    report.at(Stage::Seccomp);
    match seccomp::install(job.filter, socket.is_some()) {
        Ok(listener) => {
            if let Some(socket) = socket {
                report.at(Stage::Listener);
                send_descriptor(socket, listener)?;
            }
        }
        Err(_) if job.tolerant && socket.is_none() => {}
        Err(errno) => return Err(errno),
    }

    // On success there is no time left to say so.
    report.at(Stage::Execute);
    // SAFETY: the path is a literal; the arrays end with NULL, and they and their strings outlive the call. Returns only on failure.
    unsafe { libc::syscall(libc::SYS_execveat, init, c"".as_ptr(), job.argv(), job.envp(), libc::AT_EMPTY_PATH) };
    Err(sys::errno())
}

/// Puts the descriptors of process 1 in their places and closes all but those that are still needed. Returns the new number of
/// the socket for the listener.
fn keep_descriptors(job: &mut Job) -> Result<Option<c_int>, Errno> {
    let input = move_up(job.input)?;
    let output = move_up(job.output)?;
    let status = move_up(job.status)?;
    for cgroup in &mut job.cgroups {
        *cgroup = move_up(*cgroup)?;
    }
    let mut socket = match job.listener {
        Some(socket) => Some(move_up(socket)?),
        None => None,
    };
    place(input, 0)?;
    place(output, 1)?;
    place(output, 2)?;
    place(status, STATUS_FD)?;
    let mut next = STATUS_FD + 1;
    for descriptor in job.cgroups.iter_mut().chain(&mut socket) {
        place(*descriptor, next)?;
        *descriptor = next;
        next += 1;
    }
    sys::close_range(next as u32, u32::MAX, 0)?;
    Ok(socket)
}

/// Descriptors below this are given a place: four, the socket, and one per cgroup controller, of which there are three.
const LOW: c_int = 10;

/// Copies a descriptor to a place. No pointers are involved, and the table is this process's own.
fn place(descriptor: c_int, place: c_int) -> Result<(), Errno> {
    // SAFETY: as said.
    sys::check(unsafe { libc::dup2(descriptor, place) }.into()).map(drop)
}

/// Moves a descriptor out of the way of the low ones that have a meaning.
fn move_up(fd: c_int) -> Result<c_int, Errno> {
    // SAFETY: no pointers.
    sys::check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, LOW) }.into())
}

fn loopback_up() -> Result<(), Errno> {
    // SAFETY: no pointers.
    let socket = sys::check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: all bits zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives.
    let result = sys::check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request) }.into());
    sys::close(socket);
    result.map(drop)
}

/// Every signal at its default and none blocked: the caller's Rust runtime ignores SIGPIPE, and the caller blocked all before the
/// clone.
fn reset_signals() {
    // SAFETY: all bits zero is the default action with no flags; numbers that cannot be changed are refused, which is fine. The
    // table of signal actions is this process's own (no CLONE_SIGHAND).
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Gives up all capabilities, in the user namespace, for good.
fn drop_capabilities() -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    for capability in 0..64 {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            // Past the last one this kernel knows.
            Err(libc::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [const { Data { effective: 0, permitted: 0, inheritable: 0 } }; 2];
    // SAFETY: version 3 takes a header and two data structures, which live.
    sys::check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })?;
    Ok(())
}

/// Sends a descriptor over a socket (`SCM_RIGHTS`).
fn send_descriptor(socket: c_int, descriptor: c_int) -> Result<(), Errno> {
    #[repr(C, align(8))]
    struct Control([u8; 32]);
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 32]);
    // SAFETY: the message refers to live locals; `CMSG_SPACE` of one int (24) fits the control buffer, which is aligned for
    // `cmsghdr`.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<c_int>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(descriptor);
        sys::check(libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) as libc::c_long).map(drop)
    }
}
