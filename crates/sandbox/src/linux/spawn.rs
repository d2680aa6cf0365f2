//! Creating the child, and telling why it failed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_void};

use crate::error::SandboxError;
use crate::linux::job::Job;
use crate::linux::probe;
use crate::linux::stage::{self, Stage};
use crate::linux::sys;
use crate::probe::Feature;
use crate::request::Request;

/// A running sandbox: its process 1.
pub(crate) struct Sandbox {
    /// Pid as the caller sees it.
    pub(crate) pid: libc::pid_t,
    /// Refers to the process even should its number be reused.
    pub(crate) pidfd: OwnedFd,
}

/// Creates the child and waits until it has become process 1.
pub(crate) fn spawn(request: &Request, job: &mut Job) -> Result<Sandbox, SandboxError> {
    let stack = Stack::new()?;
    let mut pidfd: c_int = -1;
    let flags = job.flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;

    let blocked = BlockedSignals::block();
    // SAFETY: the child runs `stage::start` on a stack of its own and keeps to what that module promises about shared memory; this
    // thread is suspended until it executes or exits, so `job`, `pidfd` and the stack outlive its use of them.
    let pid =
        unsafe { libc::clone(stage::start, stack.top(), flags, ptr::from_mut(job).cast::<c_void>(), &raw mut pidfd) };
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(refused(Feature::UserNamespace, &error));
    }
    // SAFETY: the kernel has put a new descriptor there, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match job.report.read() {
        (Stage::Execute, _, 0) => Ok(Sandbox { pid, pidfd }),
        (stage, mount, errno) => {
            reap(pid);
            Err(failure(request, job, stage, mount, errno))
        }
    }
}

/// Whether a child with new namespaces can be created at all.
pub(crate) fn try_clone(namespaces: c_int) -> io::Result<()> {
    let stack = Stack::new().map_err(io::Error::other)?;
    let flags = namespaces | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let blocked = BlockedSignals::block();
    // SAFETY: the child returns at once, on a stack of its own, while this thread is suspended.
    let pid = unsafe { libc::clone(probe::end_at_once, stack.top(), flags, ptr::null_mut()) };
    let error = io::Error::last_os_error();
    drop(blocked);
    if pid < 0 {
        return Err(error);
    }
    reap(pid);
    Ok(())
}

/// Waits for a child that is ending.
fn reap(pid: libc::pid_t) {
    // SAFETY: a null status is allowed. An error means that there is nothing to reap.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0 && sys::errno() == libc::EINTR {}
}

fn failure(request: &Request, job: &Job, stage: Stage, mount: Option<usize>, errno: c_int) -> SandboxError {
    let cause = io::Error::from_raw_os_error(if errno == 0 { libc::ESRCH } else { errno });
    let program = request.argv[0].clone();
    let setup = |step| SandboxError::setup(step, io::Error::from_raw_os_error(errno));
    match stage {
        Stage::Clone | Stage::Identity => refused(Feature::UserNamespace, &cause),
        Stage::Cgroup => setup("join the cgroup of the sandbox"),
        Stage::Hostname => refused(Feature::IpcNamespace, &cause),
        Stage::Loopback => refused(Feature::NetworkNamespace, &cause),
        Stage::Root => refused(Feature::MountNamespace, &cause),
        Stage::Mounts => match mount.and_then(|mount| job.mounts.describe(mount)) {
            Some((_, target)) if target == std::path::Path::new("/proc") => refused(Feature::PidNamespace, &cause),
            Some(_) if matches!(errno, libc::EPERM | libc::ENOSYS) => refused(Feature::MountNamespace, &cause),
            Some((source_path, target)) => SandboxError::Mount { source_path, target, cause },
            None => setup("lay out the file system of the sandbox"),
        },
        Stage::Descriptors => setup("pass descriptors to the sandbox"),
        Stage::Limits => setup("set resource limits"),
        Stage::WorkingDirectory => SandboxError::WorkingDirectory { path: request.working_dir.clone(), cause },
        Stage::Privileges => setup("drop privileges"),
        Stage::Landlock => refused(Feature::Landlock, &cause),
        Stage::Seccomp if job.listener.is_some() => refused(Feature::SeccompNotify, &cause),
        Stage::Seccomp => refused(Feature::Seccomp, &cause),
        Stage::Listener => setup("pass the seccomp listener"),
        // What the command and process 1 have in common: arguments and environment may be too long.
        Stage::Execute if errno == libc::E2BIG => SandboxError::ProgramNotExecutable { program, cause },
        Stage::Execute => setup("start process 1 of the sandbox"),
    }
}

fn refused(feature: Feature, cause: &io::Error) -> SandboxError {
    SandboxError::Unsupported { feature, reason: cause.to_string() }
}

/// A stack, below it a page that faults.
struct Stack(*mut c_void);

impl Stack {
    const SIZE: usize = 64 * 1024;
    /// At least a page, on systems of pages up to 64 KiB.
    const GUARD: usize = 64 * 1024;

    fn new() -> Result<Self, SandboxError> {
        let failed = || SandboxError::setup("allocate a stack", io::Error::last_os_error());
        // SAFETY: a new anonymous mapping; no address is demanded.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::GUARD + Self::SIZE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(failed());
        }
        let stack = Stack(base);
        let start = base.wrapping_byte_add(Self::GUARD);
        // SAFETY: the range lies in the mapping just made.
        if unsafe { libc::mprotect(start, Self::SIZE, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(failed());
        }
        Ok(stack)
    }

    /// The upper end; stacks grow downwards.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(Self::GUARD + Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own; the child has left it.
        unsafe { libc::munmap(self.0, Self::GUARD + Self::SIZE) };
    }
}

/// Blocks all signals of this thread while it lives: a handler must not run in a child that shares memory.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn block() -> Self {
        let mut previous = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are live; all bits zero is a valid set, and `pthread_sigmask` fills `previous`.
        unsafe {
            let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), previous.as_mut_ptr());
            BlockedSignals(previous.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is live.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
