//! Being told of path lookups: seccomp user notification.
//!
//! The filter suspends each lookup until a thread of ours, which holds the listener, has looked at it and let it continue. Against
//! `ptrace` it stops only those calls (not every one, and no signals), leaves `ptrace` to the command, and needs no thread that is
//! the tracer of all processes. The arguments may change between the look and the continued call: it is an observation, and no
//! decision rests on it.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;

use libc::{c_int, c_long, c_ulong};
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::SandboxError;
use crate::linux::sys;
use crate::linux::trace::{Lookup, Recorder, Use};
use crate::request::{Mode, Request, Trace};

/// `struct seccomp_notif` (linux/seccomp.h).
#[repr(C)]
struct Notification {
    id: u64,
    /// Thread, as this process sees it.
    pid: u32,
    flags: u32,
    number: c_int,
    arch: u32,
    instruction_pointer: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const IOCTL_RECEIVE: c_ulong = 0xc050_2100; // _IOWR('!', 0, struct seccomp_notif)
const IOCTL_SEND: c_ulong = 0xc018_2101; // _IOWR('!', 1, struct seccomp_notif_resp)

/// What was seen, as in [`Exit`](crate::Exit).
#[derive(Debug, Default)]
pub(crate) struct Traced {
    pub(crate) sought: BTreeSet<PathBuf>,
    pub(crate) opened: BTreeSet<PathBuf>,
}

/// The thread that looks at lookups.
pub(crate) struct Tracer {
    /// The child's end of the socket over which the listener comes.
    socket: Option<OwnedFd>,
    thread: Option<JoinHandle<Traced>>,
}

impl Tracer {
    /// Starts the thread, if the request asks for a trace.
    pub(crate) fn start(request: &Request) -> Result<Option<Self>, SandboxError> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let Some(Trace { under }) = &request.trace else {
            return Ok(None);
        };
        let (ours, childs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|cause| SandboxError::setup("create a socket pair", cause))?;
        let recorder = Recorder::new(under.clone(), request.mode == Mode::Warn);
        let thread = std::thread::Builder::new()
            .name("sandbox-trace".to_owned())
            .spawn(move || listen(&ours, recorder))
            .map_err(|cause| SandboxError::setup("start a thread", cause))?;
        Ok(Some(Tracer { socket: Some(childs), thread: Some(thread) }))
    }

    /// Descriptor for the child to send the listener to.
    pub(crate) fn socket(&self) -> Option<c_int> {
        self.socket.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Closes this process's copy of the child's end, without which the thread could not notice that no listener comes.
    pub(crate) fn started(&mut self) {
        self.socket = None;
    }

    /// What was seen, once no traced process is left.
    pub(crate) fn finish(mut self) -> Traced {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Traced> {
        self.socket = None;
        // A panic of the thread loses the trace, not the run.
        self.thread.take()?.join().ok()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.join();
    }
}

/// Serves notifications until no process with the filter is left.
fn listen(socket: &OwnedFd, mut recorder: Recorder) -> Traced {
    let Some(listener) = receive_descriptor(socket) else {
        return Traced::default();
    };
    loop {
        let mut fds = [PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
        let events = fds[0].revents();
        if events.contains(PollFlags::IN) {
            if let Some(notification) = receive(&listener) {
                if let Some(lookup) = lookup(&notification) {
                    recorder.record(&lookup);
                }
                let_continue(&listener, notification.id);
            }
        } else if !events.is_empty() {
            break;
        }
    }
    recorder.finish()
}

fn receive(listener: &OwnedFd) -> Option<Notification> {
    let mut notification = MaybeUninit::<Notification>::zeroed();
    // SAFETY: the kernel fills a zeroed structure of the size that is part of the command.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_RECEIVE as _, notification.as_mut_ptr()) };
    // An error means that the caller was killed meanwhile.
    // SAFETY: all fields are integers.
    (result == 0).then(|| unsafe { notification.assume_init() })
}

fn let_continue(listener: &OwnedFd, id: u64) {
    const CONTINUE: u32 = 1;
    let response = Response { id, value: 0, error: 0, flags: CONTINUE };
    // SAFETY: a live structure of the size that is part of the command. Fails only if the caller is gone.
    unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SEND as _, &raw const response) };
}

/// Reads what a suspended call looks up. `None` if it does not matter, or the caller is gone.
fn lookup(notification: &Notification) -> Option<Lookup> {
    let number = c_long::from(notification.number);
    let args = &notification.args;
    #[cfg(target_arch = "x86_64")]
    let legacy = match number {
        libc::SYS_open => Some((0, use_of_flags(args[1]))),
        libc::SYS_stat | libc::SYS_lstat | libc::SYS_access | libc::SYS_readlink => Some((0, Use::Look)),
        _ => None,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let legacy = None;
    let (dir, path, purpose) = match (legacy, number) {
        (Some((path, purpose)), _) => (libc::AT_FDCWD, path, purpose),
        (None, libc::SYS_execve) => (libc::AT_FDCWD, 0, Use::Read),
        (None, libc::SYS_chdir) => (libc::AT_FDCWD, 0, Use::Look),
        (None, libc::SYS_execveat) => (args[0] as c_int, 1, Use::Read),
        (None, libc::SYS_openat) => (args[0] as c_int, 1, use_of_flags(args[2])),
        (None, libc::SYS_openat2) => {
            // `struct open_how` begins with the flags.
            let flags = read_memory(notification.pid, args[2], 8)?;
            let flags = u64::from_ne_bytes(flags.try_into().ok()?);
            (args[0] as c_int, 1, use_of_flags(flags))
        }
        (None, _) => (args[0] as c_int, 1, Use::Look),
    };
    if purpose == Use::Write {
        return None;
    }
    Some(Lookup { pid: notification.pid, dir, path: read_string(notification.pid, args[path])?, purpose })
}

fn use_of_flags(flags: u64) -> Use {
    let flags = flags as c_int;
    if flags & libc::O_CREAT != 0 || flags & libc::O_ACCMODE == libc::O_WRONLY { Use::Write } else { Use::Read }
}

/// Reads a NUL-terminated string of at most `PATH_MAX` from a process.
fn read_string(pid: u32, address: u64) -> Option<Vec<u8>> {
    let mut bytes = read_memory(pid, address, libc::PATH_MAX as usize)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    Some(bytes)
}

/// Reads up to `len` (at most `PATH_MAX`) bytes, less where what follows is not mapped.
fn read_memory(pid: u32, address: u64, len: usize) -> Option<Vec<u8>> {
    // The kernel reads whole ranges or nothing of them: ranges end where pages of the least size do.
    const PAGE: usize = 4096;
    let address = usize::try_from(address).ok()?;
    let first = len.min(PAGE - address % PAGE);
    let mut bytes = vec![0_u8; len];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
    let part = |base: usize, len: usize| libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: len };
    let remote = [part(address, first), part(address.checked_add(first)?, len - first)];
    // SAFETY: `local` describes a live buffer; the remote addresses are checked by the kernel.
    let count = unsafe { libc::process_vm_readv(i32::try_from(pid).ok()?, &raw const local, 1, remote.as_ptr(), 2, 0) };
    bytes.truncate(usize::try_from(count).ok()?);
    Some(bytes)
}

/// Receives one descriptor (`SCM_RIGHTS`); `None` when the other end is closed without.
fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    #[repr(C, align(8))]
    struct Control([u8; 32]);
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 32]);
    // SAFETY: the message refers to live locals; the control buffer is aligned for `cmsghdr`, and its header is looked at only
    // where the kernel says that there is one.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        loop {
            match libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) {
                count if count > 0 => break,
                0 => return None,
                _ if sys::errno() == libc::EINTR => {}
                _ => return None,
            }
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_RIGHTS {
            return None;
        }
        let descriptor = libc::CMSG_DATA(header).cast::<c_int>().read_unaligned();
        Some(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Whether the kernel can notify at all: asks for the sizes of its structures.
pub(crate) fn available() -> io::Result<()> {
    const GET_NOTIF_SIZES: libc::c_uint = 3;
    let mut sizes = [0_u16; 3];
    // SAFETY: the kernel fills in three 16-bit numbers.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIF_SIZES, 0, sizes.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::from(sizes[0]) > size_of::<Notification>() || usize::from(sizes[1]) > size_of::<Response>() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's notifications are longer than expected"));
    }
    Ok(())
}
