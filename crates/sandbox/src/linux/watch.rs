//! Watching a sandbox: hands out its output, ends it in time, reads how it ended.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::exit::{Status, Usage};
use crate::linux::spawn::Sandbox;
use crate::linux::{init, limits};
use crate::usage::{status_of_wait, usage_of};

/// What to watch a sandbox by.
pub(crate) struct Watch<'a> {
    pub(crate) start: Instant,
    pub(crate) deadline: Option<Instant>,
    /// Bytes that the processes together may use, where no cgroup sees to it.
    pub(crate) memory: Option<u64>,
    pub(crate) output: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) cancel: &'a CancelHandle,
}

/// How a sandbox ended.
pub(crate) enum End {
    /// The command could not be executed (`errno`).
    NotExecuted(i32),
    /// It ran.
    Ended(Status, Usage),
}

/// How often the flag of a cancel handle without a descriptor is looked at.
const TICK: Duration = Duration::from_millis(100);

impl Watch<'_> {
    /// Waits until everything in the sandbox is gone.
    pub(crate) fn until_end(
        self,
        sandbox: Sandbox,
        output: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<End, SandboxError> {
        let mut guard = KillOnDrop(Some(sandbox));
        let mut buffer = vec![0_u8; 64 * 1024];
        let mut reading = true;
        let mut killed = None;
        let cancel_event = self.cancel.event();
        while let Some(sandbox) = &guard.0 {
            if killed.is_none() {
                killed = self.reason_to_kill(sandbox);
                if killed.is_some() {
                    kill(sandbox);
                }
            }
            let timeout = match killed {
                Some(_) => None,
                None => self.timeout(cancel_event.is_none()),
            };
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let mut fds = Vec::with_capacity(3);
            fds.push(PollFd::new(&sandbox.pidfd, PollFlags::IN));
            if reading {
                fds.push(PollFd::new(&self.output, PollFlags::IN));
            }
            if let (None, Some(event)) = (killed, cancel_event.as_ref()) {
                fds.push(PollFd::new(event, PollFlags::IN));
            }
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(cause) => return Err(SandboxError::setup("wait for the command", cause)),
            }
            let ended = !fds[0].revents().is_empty();
            let readable = reading && !fds[1].revents().is_empty();
            if ended {
                break;
            }
            if readable {
                match rustix::io::read(&self.output, &mut buffer) {
                    Ok(0) => reading = false,
                    Ok(count) => output(&buffer[..count]),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(cause) => return Err(SandboxError::setup("read the command's output", cause)),
                }
            }
        }
        // Process 1 is gone, hence everything in its namespace: what was written is in the pipe.
        if reading {
            drain(&self.output, &mut buffer, output)?;
        }
        let mut usage = match guard.0.take() {
            Some(sandbox) => wait(sandbox.pid)?,
            None => Usage::default(),
        };
        usage.wall_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The peak of process 1 is that of the caller, in whose memory it began.
        usage.peak_memory = 0;
        let status = match (killed, self.message()?) {
            (_, Message::NotExecuted(errno)) => return Ok(End::NotExecuted(errno)),
            (killed, Message::Ended(status, peak)) => {
                usage.peak_memory = peak;
                killed.unwrap_or(status)
            }
            // Who kills process 1 kills the command.
            (killed, Message::None) => killed.unwrap_or(Status::Signaled(libc::SIGKILL)),
        };
        Ok(End::Ended(status, usage))
    }

    fn reason_to_kill(&self, sandbox: &Sandbox) -> Option<Status> {
        if self.cancel.is_cancelled() {
            return Some(Status::Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Status::TimedOut);
        }
        let pid = u32::try_from(sandbox.pid).ok()?;
        self.memory.filter(|most| limits::tree_memory(pid) > *most).map(|_| Status::OutOfMemory)
    }

    /// How long nothing needs to be looked at unless a descriptor says so.
    fn timeout(&self, tick: bool) -> Option<Duration> {
        let deadline = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let sample = self.memory.map(|_| limits::SAMPLE);
        let tick = tick.then_some(TICK);
        [deadline, sample, tick].into_iter().flatten().min()
    }

    /// What process 1 had to say, if it got to that.
    fn message(&self) -> Result<Message, SandboxError> {
        let mut raw = [0_u8; init::MESSAGE_LEN];
        let fail = |cause| SandboxError::setup("read the command's status", cause);
        rustix::io::ioctl_fionbio(&self.status, true).map_err(fail)?;
        let count = match rustix::io::read(&self.status, &mut raw) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(cause) => return Err(fail(cause)),
        };
        if count < 8 {
            return Ok(Message::None);
        }
        let word = |at: usize| i32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        if word(0) != 0 {
            return Ok(Message::NotExecuted(-word(0)));
        }
        // SAFETY: `rusage` is made of integers, for which any bytes are valid, and the message holds all of it.
        let usage = unsafe { raw.as_ptr().add(8).cast::<libc::rusage>().read_unaligned() };
        Ok(Message::Ended(status_of_wait(word(4)), usage_of(&usage).peak_memory))
    }
}

/// The first message of process 1: see [`init`].
enum Message {
    None,
    NotExecuted(i32),
    /// Status, and peak memory of the command and the children it waited for.
    Ended(Status, u64),
}

/// Hands out what is left in the pipe. Does not wait for its end: a process that is just being created elsewhere in this program
/// may hold a copy of the writing end for a moment.
fn drain(pipe: &OwnedFd, buffer: &mut [u8], output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<(), SandboxError> {
    let fail = |cause| SandboxError::setup("read the command's output", cause);
    rustix::io::ioctl_fionbio(pipe, true).map_err(fail)?;
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(count) => output(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(fail(cause)),
        }
    }
}

/// Kills process 1, and with it all others. That it is gone already is no error.
fn kill(sandbox: &Sandbox) {
    let _ = rustix::process::pidfd_send_signal(sandbox.pidfd.as_fd(), rustix::process::Signal::KILL);
}

/// Reaps process 1, with the usage of everything it reaped.
fn wait(pid: libc::pid_t) -> Result<Usage, SandboxError> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: the status may be null; `usage` is a live `rusage`. The child is ours and is waited for once.
        if unsafe { libc::wait4(pid, std::ptr::null_mut(), 0, usage.as_mut_ptr()) } >= 0 {
            // SAFETY: all bits zero is a valid `rusage`, and `wait4` filled it in.
            return Ok(usage_of(&unsafe { usage.assume_init() }));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(SandboxError::setup("wait for the command", error));
        }
    }
}

/// Leaves no sandbox behind when watching fails, or when the caller's output function panics.
struct KillOnDrop(Option<Sandbox>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(sandbox) = &self.0 {
            kill(sandbox);
            // It was killed, so this ends; an error leaves nothing to be done.
            let _ = wait(sandbox.pid);
        }
    }
}
