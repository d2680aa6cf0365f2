//! The sandbox on Linux. `docs/design/sandbox.md` tells the whole story.

mod init;
mod job;
mod landlock;
mod mounts;
mod seccomp;
mod spawn;
mod stage;
mod sys;
mod watch;

use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::exit::Exit;
use crate::linux::job::Job;
use crate::linux::spawn::spawn;
use crate::linux::watch::{End, Watch};
use crate::request::Request;

/// Runs the command in namespaces of its own.
pub(crate) fn run(
    request: &Request,
    output: &mut (dyn FnMut(&[u8]) + Send),
    cancel: &CancelHandle,
) -> Result<Exit, SandboxError> {
    use std::os::fd::AsRawFd;

    let start = Instant::now();
    let mut job = Job::new(request)?;
    let (output_read, output_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let (status_read, status_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let input = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|cause| SandboxError::setup("open /dev/null", cause))?;
    job.output = output_write.as_raw_fd();
    job.status = status_write.as_raw_fd();
    job.input = input.as_raw_fd();
    if !request.network {
        job.flags |= libc::CLONE_NEWNET;
    }

    let sandbox = spawn(request, &mut job)?;
    drop((output_write, status_write, input));
    let watch = Watch {
        start,
        deadline: request.limits.wall.and_then(|wall| start.checked_add(wall)),
        output: output_read,
        status: status_read,
        cancel,
    };
    let (status, usage) = match watch.until_end(sandbox, output)? {
        End::Ended(status, usage) => (status, usage),
        End::NotExecuted(errno) => return Err(not_executed(request, errno)),
    };
    Ok(Exit { status, usage, sought: Vec::new(), opened: Vec::new() })
}

fn not_executed(request: &Request, errno: i32) -> SandboxError {
    let program = request.argv[0].clone();
    let cause = std::io::Error::from_raw_os_error(errno);
    match errno {
        libc::ENOENT => SandboxError::ProgramNotFound { program },
        libc::EAGAIN | libc::ENOMEM => SandboxError::setup("create the process", cause),
        _ => SandboxError::ProgramNotExecutable { program, cause },
    }
}
