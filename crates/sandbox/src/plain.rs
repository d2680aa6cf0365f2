//! [`Mode::Off`](crate::Mode::Off): a plain child process in a process group of its own.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::exit::{Exit, Status, Usage};
use crate::request::Request;

/// How often cancellation and the end of the process are looked at while no output comes.
const TICK: Duration = Duration::from_millis(10);

/// How long output is read on after the command's end, should a process that left the group hold the pipe open.
const DRAIN: Duration = Duration::from_millis(200);

/// Runs the command without isolation.
pub(crate) fn run(
    request: &Request,
    output: &mut (dyn FnMut(&[u8]) + Send),
    cancel: &CancelHandle,
) -> Result<Exit, SandboxError> {
    let start = Instant::now();
    let (reader, writer) = io::pipe().map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let mut child = spawn(request, writer)?;
    let deadline = request.limits.wall.map(|wall| start + wall);
    let chunks = read_in_background(reader)?;

    let mut ended: Option<(Status, Usage, Instant)> = None;
    let mut killed: Option<Status> = None;
    loop {
        match chunks.recv_timeout(TICK) {
            Ok(chunk) => output(&chunk),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if ended.is_some() {
                    break;
                }
                std::thread::sleep(TICK);
            }
        }
        if ended.is_none() {
            let reason = if cancel.is_cancelled() {
                Some(Status::Cancelled)
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(Status::TimedOut)
            } else {
                None
            };
            if let (None, Some(reason)) = (killed, reason) {
                killed = Some(reason);
                kill_group(&mut child);
            }
            if let Some((status, usage)) = try_wait(&mut child)? {
                kill_group(&mut child);
                ended = Some((killed.unwrap_or(status), usage, Instant::now()));
            }
        } else if ended.is_some_and(|(_, _, at)| at.elapsed() > DRAIN) {
            break;
        }
    }
    let (status, mut usage, at) =
        ended.ok_or_else(|| SandboxError::setup("wait for the command", io::Error::from(io::ErrorKind::NotFound)))?;
    usage.wall_us = u64::try_from((at - start).as_micros()).unwrap_or(u64::MAX);
    Ok(Exit { status, usage, sought: Vec::new(), opened: Vec::new() })
}

fn spawn(request: &Request, writer: io::PipeWriter) -> Result<Child, SandboxError> {
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
    command.spawn().map_err(|cause| {
        if !request.working_dir.is_dir() {
            return SandboxError::WorkingDirectory { path: request.working_dir.clone(), cause };
        }
        let program = program.clone();
        if cause.kind() == io::ErrorKind::NotFound {
            SandboxError::ProgramNotFound { program }
        } else {
            SandboxError::ProgramNotExecutable { program, cause }
        }
    })
}

/// Reads on a thread of its own, so that waiting for output, a deadline and the command's end needs no platform's `poll`.
fn read_in_background(mut reader: io::PipeReader) -> Result<Receiver<Vec<u8>>, SandboxError> {
    let (sender, receiver) = sync_channel(16);
    std::thread::Builder::new()
        .name("sandbox-output".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        if sender.send(buffer[..count].to_vec()).is_err() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        })
        .map_err(|cause| SandboxError::setup("start a thread", cause))?;
    Ok(receiver)
}

#[cfg(unix)]
fn kill_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: `killpg` takes no pointers. The group is the child's own: it was created with it, and a group's number is not
        // given to another while a member lives; that the group is empty (ESRCH) is no error here.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
}

#[cfg(not(unix))]
fn kill_group(child: &mut Child) {
    // Fails only where the child is gone, which is what is wanted.
    let _ = child.kill();
}

#[cfg(unix)]
fn try_wait(child: &mut Child) -> Result<Option<(Status, Usage)>, SandboxError> {
    let pid = i32::try_from(child.id())
        .map_err(|_| SandboxError::setup("wait for the command", io::Error::from(io::ErrorKind::InvalidData)))?;
    let mut raw = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live locals of the right type. The child is ours and is waited for here alone.
    let got = unsafe { libc::wait4(pid, &raw mut raw, libc::WNOHANG, usage.as_mut_ptr()) };
    match got {
        0 => Ok(None),
        -1 => Err(SandboxError::setup("wait for the command", io::Error::last_os_error())),
        _ => {
            // SAFETY: all bits zero is a valid `rusage`, and `wait4` filled it in.
            let usage = unsafe { usage.assume_init() };
            Ok(Some((crate::usage::status_of_wait(raw), crate::usage::usage_of(&usage))))
        }
    }
}

#[cfg(not(unix))]
fn try_wait(child: &mut Child) -> Result<Option<(Status, Usage)>, SandboxError> {
    let status = child.try_wait().map_err(|cause| SandboxError::setup("wait for the command", cause))?;
    Ok(status.map(|status| (Status::Exited(status.code().unwrap_or(-1)), Usage::default())))
}
