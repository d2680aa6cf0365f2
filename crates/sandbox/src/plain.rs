//! [`Mode::Off`](crate::Mode::Off): a plain child process in a process group of its own.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::exit::{Exit, Status, Usage};
#[cfg(isolation)]
use crate::linux::plain_limits::PlainLimits;
use crate::request::Request;
#[cfg(not(isolation))]
use crate::unlimited::PlainLimits;

/// How often cancellation, the deadline and the use of memory are looked at.
const TICK: Duration = Duration::from_millis(20);

/// How long output is read on after the command's end, should a process that left the group hold the pipe open.
const DRAIN: Duration = Duration::from_millis(200);

/// What the helping threads tell.
enum Event {
    Output(Vec<u8>),
    /// Nobody can write any more.
    Closed,
    /// The command has ended; it has not been reaped.
    #[cfg_attr(not(unix), expect(dead_code, reason = "the end is polled for there"))]
    Ended,
}

/// Runs the command without isolation.
pub(crate) fn run(
    request: &Request,
    output: &mut (dyn FnMut(&[u8]) + Send),
    cancel: &CancelHandle,
) -> Result<Exit, SandboxError> {
    let start = Instant::now();
    let (reader, writer) = io::pipe().map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let limits = PlainLimits::new(&request.limits)?;
    let mut running = Running(Some(spawn(request, writer, &limits)?));
    let deadline = request.limits.wall.and_then(|wall| start.checked_add(wall));
    let (sender, events) = sync_channel(16);
    read_in_background(reader, sender.clone())?;
    wait_in_background(running.id(), sender)?;

    let mut killed = None;
    let mut closed = false;
    let (status, mut usage) = loop {
        let ended = match events.recv_timeout(TICK) {
            Ok(Event::Output(chunk)) => {
                output(&chunk);
                false
            }
            Ok(Event::Closed) => {
                closed = true;
                false
            }
            Ok(Event::Ended) => true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => cfg!(not(unix)),
        };
        if ended && let Some(end) = running.reap()? {
            break end;
        }
        if killed.is_none() {
            killed = if cancel.is_cancelled() {
                Some(Status::Cancelled)
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(Status::TimedOut)
            } else if limits.exceeded(running.id()) {
                Some(Status::OutOfMemory)
            } else {
                None
            };
            if killed.is_some() {
                running.kill();
            }
        }
    };
    let end = Instant::now();
    usage.wall_us = u64::try_from((end - start).as_micros()).unwrap_or(u64::MAX);
    let status = limits.finish(killed.unwrap_or(status), &mut usage);
    if !closed {
        drain(&events, end + DRAIN, output);
    }
    Ok(Exit { status, usage, sought: Vec::new(), opened: Vec::new() })
}

fn drain(events: &Receiver<Event>, until: Instant, output: &mut (dyn FnMut(&[u8]) + Send)) {
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Output(chunk)) => output(&chunk),
            Ok(Event::Ended) => {}
            Ok(Event::Closed) | Err(_) => return,
        }
    }
}

fn spawn(request: &Request, writer: io::PipeWriter, limits: &PlainLimits) -> Result<Child, SandboxError> {
    let program = &request.argv[0];
    let duplicate = writer.try_clone().map_err(|cause| SandboxError::setup("duplicate a pipe", cause))?;
    let mut command = Command::new(program);
    command
        .args(&request.argv[1..])
        .env_clear()
        .envs(request.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&request.working_dir)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(duplicate);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    limits.apply(&mut command);
    command.spawn().map_err(|cause| {
        if !request.working_dir.is_dir() {
            return SandboxError::WorkingDirectory { path: request.working_dir.clone(), cause };
        }
        let program = program.clone();
        match cause.kind() {
            io::ErrorKind::NotFound => SandboxError::ProgramNotFound { program },
            _ => SandboxError::ProgramNotExecutable { program, cause },
        }
    })
}

/// Reads on a thread of its own, so that waiting for output and for the command's end needs no platform's `poll`.
fn read_in_background(mut reader: io::PipeReader, sender: SyncSender<Event>) -> Result<(), SandboxError> {
    background("sandbox-output", move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let event = match reader.read(&mut buffer) {
                Ok(0) => Event::Closed,
                Ok(count) => Event::Output(buffer[..count].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Event::Closed,
            };
            let last = matches!(event, Event::Closed);
            if sender.send(event).is_err() || last {
                break;
            }
        }
    })
}

/// Waits for the end without reaping: until then nobody else can get the command's number.
#[cfg(unix)]
fn wait_in_background(pid: u32, sender: SyncSender<Event>) -> Result<(), SandboxError> {
    background("sandbox-wait", move || {
        loop {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: `info` is live and of the right type.
            let result = unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
            if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        // The receiver is gone only when the run has failed, and with it the command.
        let _ = sender.send(Event::Ended);
    })
}

#[cfg(not(unix))]
fn wait_in_background(_: u32, sender: SyncSender<Event>) -> Result<(), SandboxError> {
    // Without another sender, the end of the output would disconnect the channel, and the wait for events would not pause.
    background("sandbox-wait", move || {
        while sender.send(Event::Output(Vec::new())).is_ok() {
            std::thread::sleep(TICK);
        }
    })
}

fn background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), SandboxError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|cause| SandboxError::setup("start a thread", cause))
}

/// A command that has not been reaped; killed and reaped when dropped.
struct Running(Option<Child>);

impl Running {
    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Kills the whole group.
    fn kill(&mut self) {
        if let Some(child) = &mut self.0 {
            kill_group(child);
        }
    }

    /// Takes the end of a command that has ended, after killing what it left in its group.
    fn reap(&mut self) -> Result<Option<(Status, Usage)>, SandboxError> {
        let Some(child) = &mut self.0 else { return Ok(None) };
        if cfg!(unix) {
            kill_group(child);
        }
        let end = wait(child)?;
        if end.is_some() {
            self.0 = None;
        }
        Ok(end)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        // It was killed; an error leaves nothing to be done.
        if let Some(child) = &mut self.0 {
            let _ = child.wait();
        }
    }
}

#[cfg(unix)]
fn kill_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: `killpg` takes no pointers. The group has the number of the child, which has not been reaped, so that it is no
        // other's. That the group is empty is no error here.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
}

#[cfg(not(unix))]
fn kill_group(child: &mut Child) {
    // Fails only where the child is gone, which is what is wanted.
    let _ = child.kill();
}

#[cfg(unix)]
fn wait(child: &mut Child) -> Result<Option<(Status, Usage)>, SandboxError> {
    let failed = |cause| SandboxError::setup("wait for the command", cause);
    let pid = i32::try_from(child.id()).map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
    let mut raw = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live locals of the right type. The child is ours and is reaped here alone.
    match unsafe { libc::wait4(pid, &raw mut raw, libc::WNOHANG, usage.as_mut_ptr()) } {
        0 => Ok(None),
        -1 => Err(failed(io::Error::last_os_error())),
        _ => {
            // SAFETY: all bits zero is a valid `rusage`, and `wait4` filled it in.
            let usage = unsafe { usage.assume_init() };
            Ok(Some((crate::usage::status_of_wait(raw), crate::usage::usage_of(&usage))))
        }
    }
}

#[cfg(not(unix))]
fn wait(child: &mut Child) -> Result<Option<(Status, Usage)>, SandboxError> {
    let status = child.try_wait().map_err(|cause| SandboxError::setup("wait for the command", cause))?;
    Ok(status.map(|status| (Status::Exited(status.code().unwrap_or(-1)), Usage::default())))
}
